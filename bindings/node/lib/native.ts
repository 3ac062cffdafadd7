// The addon, and what it is made of. Programs import `fuse-runtime`; nothing here is public.

/** The two halves of a module's id. */
export type NativeId = [slot: number, generation: number];

export interface NativePolicy {
  capabilities: number;
  memoryPagesMax: number;
  stackSize: number;
  heapSize: number;
  cpuQuotaUs: number;
  stepIntervalUs: number;
  activation: number;
  eventSubscribe: number;
  fuelQuota: string;
  priority: number;
  bytes: Buffer;
}

export interface NativeApplication {
  name: string;
  description: string;
  maxModules: number;
  memoryPoolBytes: number;
  logPoolBytes: number;
  metering: string;
  capabilities: number;
  eventNames: string[];
  eventIds: number[];
}

export interface NativeModuleDecl {
  name: string;
  binary: string;
  policy: NativePolicy;
  artifact?: Buffer;
}

export interface NativeAppConfig {
  toBinary(): Buffer;
  withArtifact(index: number, artifact: Uint8Array): NativeAppConfig;
  equals(other: NativeAppConfig): boolean;
  readonly application: NativeApplication;
  readonly modules: NativeModuleDecl[];
}

export interface NativeHistogram {
  buckets: number[];
  count: number;
  maxNs: number;
  meanNs: number;
}

export interface NativeStats {
  steps: number;
  traps: number;
  violations: number;
  quotaHits: number;
  stepTime: NativeHistogram;
  fuelLast: number;
  fuelPeak: number;
  fuelTotal: number;
  memoryPeakBytes: number;
  eventLatency: NativeHistogram;
}

export interface NativeModuleInfo {
  name: string;
  state: string;
  failure?: string;
  latch: number;
  memoryBytes: number;
}

export interface NativeOutcome {
  slot: number;
  generation: number;
  error?: string;
  byCallback: boolean;
}

export interface NativeRecord {
  sequence: number;
  timestampUs: number;
  slot?: number;
  generation?: number;
  module?: string;
  level: string;
  source: string;
  text: string;
}

export interface NativeFunction {
  name: string;
  params: string[];
  result?: string;
  callback: (args: Array<number | bigint | Buffer>) => number | bigint | null | string;
  buffer: (param: number) => Uint8Array | null;
}

export interface NativeClock {
  readonly nowUs: number;
  setUs(nowUs: bigint): void;
  advanceUs(byUs: bigint): void;
}

export interface NativePoster {
  post(event: number): void;
  postAt(event: number, timestampUs: number): void;
}

export interface NativeRuntime {
  setTemp(callback: () => number | string): void;
  setTimer(callback: () => bigint | string): void;
  setCamera(callback: (maxLen: number) => Uint8Array | null | string): void;
  registerGroup(name: string, bit: number, functions: NativeFunction[]): void;
  load(name: string, artifact: Uint8Array, policy: string): NativeId;
  loadFile(name: string, path: string, policy: string): NativeId;
  loadApp(config: NativeAppConfig): NativeId[];
  find(name: string): NativeId;
  modules(): NativeId[];
  start(slot: number, generation: number): void;
  pause(slot: number, generation: number): void;
  stepper(slot: number, generation: number): () => void;
  restartModule(slot: number, generation: number): void;
  update(slot: number, generation: number, artifact: Uint8Array): void;
  unload(slot: number, generation: number): void;
  tick(): NativeOutcome[] | null;
  nextDeadlineUs(): number | null;
  postEvent(event: number): void;
  postEventAt(event: number, timestampUs: number): void;
  clearEvent(event: number): void;
  posterNumber(): number;
  stop(): void;
  restart(): void;
  isStopped(): boolean;
  moduleInfo(slot: number, generation: number): NativeModuleInfo;
  modulePolicy(slot: number, generation: number): NativePolicy;
  moduleStats(slot: number, generation: number): NativeStats;
  moduleMemory(slot: number, generation: number, offset: number, length: number): Buffer;
  logRecords(since: number): NativeRecord[];
  logCounts(): [next: number, lost: number, lostSecurity: number];
  close(): void;
}

export interface NativeOptions {
  stackBytesMax?: number;
  traps?: string;
  timeEveryStep: boolean;
  compileOnLoad: boolean;
}

/** Is told whether a call succeeded, and its answer or (as text) its error. */
export type Done<T = never> = (ok: boolean, answer: T | string | null) => void;

export interface NativePending {
  cancel(): void;
}

export interface NativeStream {
  begin(done: Done): NativePending;
}

export interface NativeTerminal {
  readonly exitCode: number | null;
  beginRead(done: Done<Buffer>): NativePending;
  beginWrite(data: Uint8Array, done: Done): NativePending;
  beginResize(rows: number, cols: number, done: Done): NativePending;
  close(): void;
}

export interface NativePlane {
  readonly provider: string | null;
  attach(args: string, done: Done): NativePending;
  begin(name: string, args: string, done: Done): NativePending;
  beginUpload(id: string, path: string, mode: number, content: Uint8Array, done: Done): NativePending;
  stream(name: string, args: string): NativeStream;
  close(done: Done): void;
}

interface Native {
  NativePlane: new (number: number) => NativePlane;
  NativeTerminal: new (number: number) => NativeTerminal;
  nativeOpenPlane(
    kind: string,
    where: string,
    token: string | null,
    provider: string,
    hostData: string | null,
    done: Done,
  ): void;
  NATIVE_ENGINE: string;
  NATIVE_VERSION: string;
  NativeClock: new (quotaTimer: boolean) => NativeClock;
  NativePoster: new (number: number) => NativePoster;
  NativeAppConfig: {
    fromJson(text: string): NativeAppConfig;
    fromBinary(data: Uint8Array): NativeAppConfig;
    defaults(): NativeAppConfig;
  };
  NativeRuntime: {
    create(config: NativeAppConfig, options: NativeOptions, clock: NativeClock | null): NativeRuntime;
  };
  nativePolicyFromJson(text: string): NativePolicy;
  nativePolicyFromBytes(data: Uint8Array): NativePolicy;
  nativeCompile(
    source: Uint8Array,
    options: { target?: string; metering?: string; cpu?: string; traps?: string; portable?: boolean },
  ): Buffer;
  nativeInspect(artifact: Uint8Array): {
    identity: string;
    target: string;
    metering: string;
    traps: string;
    codeBytes: number;
    codeSha256: string;
    portable?: Buffer;
  };
}

// eslint-disable-next-line @typescript-eslint/no-require-imports
export const native: Native = require("./fuse.node") as Native;
