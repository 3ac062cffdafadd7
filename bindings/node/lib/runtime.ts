import { EventEmitter } from "node:events";

import { edgeError, edgeErrors, type EdgeError, type ErrorKind, guarded, translated } from "./errors";
import { Calls, type Hal, type HalGroup, type Frame } from "./hal";
import { native, type NativeClock, type NativeHistogram, type NativeId, type NativePoster, type NativeRuntime } from "./native";
import {
  AppConfig,
  type Application,
  type ApplicationFields,
  json,
  type ModuleDecl,
  Policy,
  type PolicyFields,
  policyOf,
} from "./policy";

/** Where a module is in its life. */
export type ModuleState = "Loaded" | "Running" | "Paused" | "Trapped" | "QuotaExceeded";
/** WebAssembly, its text format, or an artifact. */
export type Source = string | Uint8Array;

/** One entry of a runtime's log. */
export interface LogRecord {
  /** Position in the whole log; it starts at 0 and grows by one with each record. */
  readonly sequence: number;
  /** When, in microseconds of the runtime's clock. */
  readonly timestampUs: number;
  /** The id of the module that it is about. */
  readonly moduleId: bigint | undefined;
  /** That module's name, while it is loaded. */
  readonly module: string | undefined;
  readonly level: "debug" | "info" | "fatal";
  /** `module`, or `security` for what the runtime itself says. */
  readonly source: "module" | "security";
  /** At most 127 bytes. */
  readonly text: string;
}

/** Counts of durations by power of two: bucket i counts 2^i to 2^(i+1) - 1 nanoseconds. */
export interface Histogram {
  readonly buckets: readonly number[];
  readonly count: number;
  readonly maxNs: number;
  readonly meanNs: number;
}

/** Statistics of one module since it was loaded. */
export interface ModuleStats {
  readonly steps: number;
  readonly traps: number;
  readonly violations: number;
  readonly quotaHits: number;
  readonly stepTime: Histogram;
  readonly fuelLast: number;
  readonly fuelPeak: number;
  readonly fuelTotal: number;
  readonly memoryPeakBytes: number;
  readonly eventLatency: Histogram;
}

/** How one module's step in a tick ended. */
export interface StepOutcome {
  readonly module: Module;
  /** The kind of its failure; undefined when it ended well. `module.failure` and the log say more. */
  readonly error: ErrorKind | undefined;
  /** What a HAL callback threw, when that is why it failed. */
  readonly cause: unknown;
}

/** What a tick did: the modules that ran, in order. */
export class TickReport {
  /** All outcomes, in the order in which the modules ran. */
  readonly outcomes: readonly StepOutcome[];

  /** @internal */
  constructor(outcomes: readonly StepOutcome[]) {
    this.outcomes = outcomes;
  }

  /** Those whose step failed. */
  get failed(): StepOutcome[] {
    return this.outcomes.filter((outcome) => outcome.error !== undefined);
  }

  [Symbol.iterator](): Iterator<StepOutcome> {
    return this.outcomes[Symbol.iterator]();
  }
}

const NOTHING_RAN = new TickReport(Object.freeze([]));

/** Time that stands still until the host moves it: for simulation, replay and tests. */
export class ManualClock {
  /** @internal */
  readonly handle: NativeClock;

  /** A clock at 0. With `quotaTimer` its runtime enforces `cpu_quota_us` in real time. */
  constructor(options: { quotaTimer?: boolean } = {}) {
    this.handle = guarded(() => new native.NativeClock(options.quotaTimer ?? false));
  }

  /** The time in microseconds. */
  get nowUs(): number {
    return this.handle.nowUs;
  }

  /** Sets the time, also backwards. */
  setUs(nowUs: number | bigint): void {
    this.handle.setUs(BigInt(nowUs));
  }

  /** Moves the time forward. */
  advanceUs(byUs: number | bigint): void {
    this.handle.advanceUs(BigInt(byUs));
  }
}

/** Posts events into one runtime, from any worker thread. */
export class EventPoster {
  readonly #native: NativePoster;
  /** The runtime's number: send it to a worker, which opens a poster with it. */
  readonly number: number;

  /** The poster of the runtime whose `posterNumber` this is. */
  constructor(number: number) {
    this.number = number;
    try {
      this.#native = new native.NativePoster(number);
    } catch (thrown) {
      throw edgeError("WrongState", (thrown as Error).message);
    }
  }

  /** Posts an event, 0 to 31. */
  post(event: number): void {
    guarded(() => this.#native.post(event));
  }

  /** Posts an event with the time of its cause, in microseconds of the runtime's clock. */
  postAt(event: number, timestampUs: number): void {
    guarded(() => this.#native.postAt(event, timestampUs));
  }
}

/** How a runtime is set up. */
export interface RuntimeOptions {
  /** What concerns the whole runtime; without it every compiled-in group is enabled. */
  application?: ApplicationFields | AppConfig;
  /** The callbacks. */
  hal?: Hal;
  /** The clock that the host moves; without it the machine's. */
  clock?: ManualClock;
  /** Largest `stack_size` of a policy, in bytes. */
  stackBytesMax?: number;
  /** How traps are detected: by checks (the default), or by guard pages and signals. */
  traps?: "explicit" | "signals";
  /** Which steps are timed. */
  stepTiming?: "sampled" | "every";
  /** Called with each record of the log, after the call into the runtime that wrote it. */
  onLog?: (record: LogRecord) => void;
  /** Whether `load` compiles what is not an artifact for this engine; default true. */
  compileOnLoad?: boolean;
}

/** How a loop of ticks ends. */
export interface RunOptions {
  /** Ends it; the promise is then fulfilled, not rejected. */
  signal?: AbortSignal;
  /** After so many ticks that ran something. */
  ticks?: number;
}

/** An event posted by another thread is seen within this time, in milliseconds. */
const POLL_MS = 10;

/**
 * Runs modules under policies, step by step, on this thread of JavaScript. Close it (or use `using`): its callbacks keep it
 * alive otherwise.
 */
export class Runtime {
  readonly #native: NativeRuntime;
  readonly #calls = new Calls();
  readonly #wake = new EventEmitter();
  readonly #manual: boolean;
  readonly #onLog: ((record: LogRecord) => void) | undefined;
  #logRead = 0;
  /** Calls under way: more than one inside a callback. */
  #inside = 0;
  #closed = false;
  /** The application that it was made for. */
  readonly application: Application;

  constructor(options: RuntimeOptions = {}) {
    const { application } = options;
    const config = application instanceof AppConfig ? application : AppConfig.ofApplication(application);
    const native_options = {
      timeEveryStep: options.stepTiming === "every",
      compileOnLoad: options.compileOnLoad ?? true,
      ...(options.stackBytesMax !== undefined && { stackBytesMax: options.stackBytesMax }),
      ...(options.traps !== undefined && { traps: options.traps }),
    };
    const clock = options.clock?.handle ?? null;
    this.#native = guarded(() => native.NativeRuntime.create(config.handle, native_options, clock));
    this.#manual = clock !== null;
    this.#onLog = options.onLog;
    this.application = config.application;
    const { temp, timer, camera, groups = [] } = options.hal ?? {};
    if (temp) this.setTemp(temp);
    if (timer) this.setTimer(timer);
    if (camera) this.setCamera(camera);
    groups.forEach((group) => this.registerGroup(group));
  }

  /** Sets the temperature sensor: degrees Celsius. */
  setTemp(callback: () => number): void {
    guarded(() => this.#native.setTemp(this.#calls.temp(callback)));
  }

  /** Sets the clock that modules read: monotonic microseconds. */
  setTimer(callback: () => number | bigint): void {
    guarded(() => this.#native.setTimer(this.#calls.timer(callback)));
  }

  /** Sets the camera. */
  setCamera(callback: (maxLen: number) => Frame | null | undefined): void {
    guarded(() => this.#native.setCamera(this.#calls.camera(callback)));
  }

  /** Registers a group of the host's own functions. Modules loaded from now on may import them. */
  registerGroup(group: HalGroup): void {
    const functions = group.functions.map((declared) => this.#calls.host(declared));
    guarded(() => this.#native.registerGroup(group.name, group.bit, functions));
  }

  /** Loads a module from an artifact, from WebAssembly or from its text format. */
  load(name: string, artifact: Source, policy: Policy | PolicyFields = {}): Module {
    const fields = json(policy instanceof Policy ? policy.toFields() : policy);
    return new Module(this, this._guest((rt) => rt.load(name, bytesOf(artifact), fields)));
  }

  /** Loads a module from a file. */
  loadFile(name: string, path: string, policy: Policy | PolicyFields = {}): Module {
    const fields = json(policy instanceof Policy ? policy.toFields() : policy);
    return new Module(this, this._guest((rt) => rt.loadFile(name, path, fields)));
  }

  /**
   * Loads all modules of the application that the runtime was made for. `fetch` gives the artifact of a module that the
   * configuration does not carry. On an error, what this call loaded is unloaded again.
   */
  loadApp(config: AppConfig, fetch?: (module: ModuleDecl) => Source): Module[] {
    const missing = config.modules.filter((module) => module.artifact === undefined);
    const fetched = missing.map((module): [string, Uint8Array] => {
      if (fetch === undefined) {
        throw edgeError("InvalidArg", `\`${module.name}\` carries no artifact: give \`fetch\`, which finds it`);
      }
      return [module.name, bytesOf(fetch(module))];
    });
    const whole = fetched.length === 0 ? config : config.withArtifacts(Object.fromEntries(fetched));
    return this._guest((rt) => rt.loadApp(whole.handle)).map((id) => new Module(this, id));
  }

  /** The module of this name. */
  find(name: string): Module {
    return new Module(this, guarded(() => this.#native.find(name)));
  }

  /** All modules. */
  get modules(): Module[] {
    return guarded(() => this.#native.modules()).map((id) => new Module(this, id));
  }

  /** Steps every module that is due, once each. A failure of one is in the report and does not stop the others. */
  tick(): TickReport {
    const ran = this._guest((rt) => rt.tick(), true);
    if (ran === null) {
      return NOTHING_RAN;
    }
    const outcomes = ran.map((step) => ({
      module: new Module(this, [step.slot, step.generation]),
      error: step.error as ErrorKind | undefined,
      cause: step.byCallback ? this.#calls.thrown.shift() : undefined,
    }));
    this.#calls.thrown.length = 0;
    return new TickReport(outcomes);
  }

  /** How long until a module is due, in microseconds: 0 when one is, undefined when nothing will be by itself. */
  get nextDeadlineUs(): number | undefined {
    return guarded(() => this.#native.nextDeadlineUs()) ?? undefined;
  }

  /**
   * The reports of ticks, whenever something is due. It ends with the signal, after `ticks` reports, and when the runtime
   * is stopped or closed.
   */
  async *ticks(options: RunOptions = {}): AsyncGenerator<TickReport, void, void> {
    const { signal, ticks = Infinity } = options;
    for (let ran = 0; ran < ticks; ) {
      if (signal?.aborted || this.#closed || this.isStopped) {
        return;
      }
      const due = this.nextDeadlineUs;
      if (due !== 0) {
        await this.#sleep(due, signal);
        continue;
      }
      const report = this.tick();
      ran += 1;
      yield report;
      // Other work of the program has its turn between ticks.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Ticks whenever something is due; returns how many ticks ran something. */
  async run(options: RunOptions & { onTick?: (report: TickReport) => void } = {}): Promise<number> {
    let ran = 0;
    for await (const report of this.ticks(options)) {
      ran += 1;
      options.onTick?.(report);
    }
    return ran;
  }

  async #sleep(dueUs: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    const due = dueUs === undefined || this.#manual ? POLL_MS : Math.min(dueUs / 1000, POLL_MS);
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake.off("post", done);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, due);
      this.#wake.once("post", done);
      signal?.addEventListener("abort", done);
    });
  }

  #event(event: number | string): number {
    if (typeof event === "number") {
      return event;
    }
    const id = this.application.events.get(event);
    if (id === undefined) {
      const known = [...this.application.events.keys()].join(", ");
      throw edgeError("InvalidArg", `\`${event}\` is no event of the application; known are ${known}`);
    }
    return id;
  }

  /** Posts an event, by its number (0 to 31) or its name in the application. Callbacks may. */
  postEvent(event: number | string): void {
    const id = this.#event(event);
    guarded(() => this.#native.postEvent(id));
    this.#wake.emit("post");
  }

  /** Takes an event back from the latches of all modules. */
  clearEvent(event: number | string): void {
    const id = this.#event(event);
    guarded(() => this.#native.clearEvent(id));
  }

  /** A poster for this thread; its `number` opens one on a worker thread. */
  poster(): EventPoster {
    return new EventPoster(guarded(() => this.#native.posterNumber()));
  }

  /** The id of the module whose call of a host group is running; undefined outside such a callback. */
  get callingModuleId(): bigint | undefined {
    return this.#calls.caller && idOf(this.#calls.caller);
  }

  /** Stops the runtime: every running module is held, and no module runs until `restart`. */
  stop(): void {
    guarded(() => this.#native.stop());
    this.#wake.emit("post");
  }

  /** Lifts a stop. */
  restart(): void {
    guarded(() => this.#native.restart());
  }

  /** Whether the runtime is stopped. */
  get isStopped(): boolean {
    return guarded(() => this.#native.isStopped());
  }

  /** The kept records of the log from a sequence number on. A gap in the numbers is what was overwritten. */
  logRecords(since = 0): LogRecord[] {
    return guarded(() => this.#native.logRecords(since)).map(({ slot, generation, ...record }) => ({
      ...record,
      module: record.module ?? undefined,
      level: record.level as LogRecord["level"],
      source: record.source as LogRecord["source"],
      moduleId: slot === undefined || generation === undefined ? undefined : idOf([slot, generation]),
    }));
  }

  /** The sequence number that the next record will have. */
  get logNextSequence(): number {
    return guarded(() => this.#native.logCounts())[0];
  }

  /** How many records of modules were overwritten. */
  get logLost(): number {
    return guarded(() => this.#native.logCounts())[1];
  }

  /** How many security records were overwritten. */
  get logLostSecurity(): number {
    return guarded(() => this.#native.logCounts())[2];
  }

  /** Unloads all modules, each with its `module_deinit` where it is owed, and frees the runtime. Twice does nothing. */
  close(): void {
    guarded(() => this.#native.close());
    this.#calls.thrown.length = 0;
    this.#closed = true;
    this.#wake.emit("post");
  }

  /** Whether it is closed. */
  get closed(): boolean {
    return this.#closed;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A function that steps a module. @internal */
  _stepper(id: NativeId): () => void {
    return this.#native.stepper(id[0], id[1]);
  }

  /** A call that may run guest code. @internal */
  _guest<T>(call: (rt: NativeRuntime) => T, keepThrown = false): T {
    const { thrown } = this.#calls;
    this.#inside += 1;
    try {
      const value = call(this.#native);
      if (!keepThrown && thrown.length > 0) {
        // What a deinit's callback threw: the log has it.
        thrown.length = 0;
      }
      return value;
    } catch (error) {
      const cause = thrown.length > 0 ? { error: thrown[0] } : undefined;
      // The call of a callback that was refused leaves what others threw.
      if (this.#calls.caller === undefined) {
        thrown.length = 0;
      }
      throw translated(error, cause);
    } finally {
      this.#inside -= 1;
      if (this.#onLog !== undefined) this.#tell(this.#onLog);
    }
  }

  /** Hands out the records that were not handed out yet; inside a callback the runtime cannot be asked. */
  #tell(onLog: (record: LogRecord) => void): void {
    if (this.#closed || this.#inside > 0) {
      return;
    }
    const news = this.logRecords(this.#logRead);
    this.#logRead = news.at(-1) === undefined ? this.#logRead : news[news.length - 1]!.sequence + 1;
    news.forEach((record) => onLog(record));
  }

  /** @internal */
  get _native(): NativeRuntime {
    return this.#native;
  }
}

/** One module of one runtime. After an unload every call throws NotFoundError: ids are never used again. */
export class Module {
  readonly #id: NativeId;
  #step: (() => void) | undefined;
  /** The runtime that it is in. */
  readonly runtime: Runtime;

  /** @internal */
  constructor(runtime: Runtime, id: NativeId) {
    this.runtime = runtime;
    this.#id = id;
  }

  /** Starts it, or goes on after a pause. The first start runs `module_init`. */
  start(): void {
    this.runtime._guest((rt) => rt.start(this.#id[0], this.#id[1]));
  }

  /** Holds it. */
  pause(): void {
    this.runtime._guest((rt) => rt.pause(this.#id[0], this.#id[1]));
  }

  /** Steps it now, whatever its activation; where that contains INTERVAL, the interval must have passed. */
  runStep(): void {
    this.runtime._guest((this.#step ??= this.runtime._stepper(this.#id)));
  }

  /** Starts a module that failed again, from its artifact, with fresh memory. */
  restart(): void {
    this.runtime._guest((rt) => rt.restartModule(this.#id[0], this.#id[1]));
  }

  /** Replaces its artifact between steps. On any failure the old one goes on. */
  update(artifact: Source): void {
    this.runtime._guest((rt) => rt.update(this.#id[0], this.#id[1], bytesOf(artifact)));
  }

  /** Unloads it. Its `module_deinit` runs if it was ever started and has not failed. */
  unload(): void {
    this.runtime._guest((rt) => rt.unload(this.#id[0], this.#id[1]));
  }

  /** Its id in the runtime, never used again. */
  get id(): bigint {
    return idOf(this.#id);
  }

  /** Its name. */
  get name(): string {
    return this.#info().name;
  }

  /** Its state. */
  get state(): ModuleState {
    return this.#info().state as ModuleState;
  }

  /** Its policy. */
  get policy(): Policy {
    return policyOf(guarded(() => this.runtime._native.modulePolicy(this.#id[0], this.#id[1])));
  }

  /** What it did so far. */
  get stats(): ModuleStats {
    return guarded(() => this.runtime._native.moduleStats(this.#id[0], this.#id[1]));
  }

  /** Why it is Trapped or QuotaExceeded. */
  get failure(): string | undefined {
    return this.#info().failure ?? undefined;
  }

  /** The events that wait for it, as a mask. */
  get latch(): number {
    return this.#info().latch;
  }

  /** Size of its linear memory, in bytes. */
  get memoryBytes(): number {
    return this.#info().memoryBytes;
  }

  /** A copy of part of its linear memory; what lies beyond the end is left out. */
  readMemory(offset = 0, length = Infinity): Buffer {
    return guarded(() => this.runtime._native.moduleMemory(this.#id[0], this.#id[1], offset, length));
  }

  /** Whether another object is of the same module. */
  equals(other: Module): boolean {
    return other.runtime === this.runtime && other.id === this.id;
  }

  #info() {
    return guarded(() => this.runtime._native.moduleInfo(this.#id[0], this.#id[1]));
  }

  /** What `console.log` shows. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    try {
      const { name, state } = this.#info();
      return `Module { ${name}, ${state}, steps: ${this.stats.steps} }`;
    } catch {
      return `Module { ${this.id}, not loaded }`;
    }
  }
}

/** An upper bound, within a factor of two, of the `permille`-th of 1000, in nanoseconds. */
export function quantileNs(histogram: Histogram | NativeHistogram, permille: number): number {
  const rank = Math.ceil((histogram.count * Math.min(permille, 1000)) / 1000);
  let seen = 0;
  for (const [index, count] of histogram.buckets.entries()) {
    seen += count;
    if (seen >= rank && seen > 0) {
      return Math.min(2 ** (index + 1) - 1, histogram.maxNs);
    }
  }
  return 0;
}

function idOf([slot, generation]: readonly [number, number]): bigint {
  return (BigInt(generation) << 32n) | BigInt(slot);
}

/** @internal */
export function bytesOf(source: Source): Uint8Array {
  return typeof source === "string" ? Buffer.from(source) : source;
}

/** The class of the error of a kind. */
export function errorClass(kind: ErrorKind): new (code: ErrorKind, message: string) => EdgeError {
  return edgeErrors[kind];
}
