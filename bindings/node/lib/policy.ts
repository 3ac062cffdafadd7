import { guarded } from "./errors";
import { native, type NativeAppConfig, type NativePolicy } from "./native";

/** The built-in HAL groups, as a policy grants them. Bits 8 to 31 are the host's own groups. */
export const Capability = Object.freeze({ TEMP_SENSOR: 1, TIMER: 2, CAMERA: 4, LOG: 8, EVENT_POST: 16 } as const);

/** What makes a module due in a tick. */
export const Activation = Object.freeze({ INTERVAL: 1, EVENT: 2, MANUAL: 4 } as const);

/** The fields of a policy, named as in `app_config.json`. */
export interface PolicyFields {
  capabilities?: number | readonly string[];
  memory_pages_max?: number;
  stack_size?: number;
  heap_size?: number;
  cpu_quota_us?: number;
  step_interval_us?: number;
  activation_mask?: number | string | readonly string[];
  activation?: number | string | readonly string[];
  event_subscribe?: number | readonly string[];
  fuel_quota?: number | bigint;
  priority?: number;
}

/** JSON, with bigints as the numbers that they are. @internal */
export function json(value: unknown): string {
  if (typeof value === "bigint") {
    return value.toString();
  }
  if (Array.isArray(value)) {
    return `[${value.map((item) => json(item ?? null)).join(",")}]`;
  }
  if (value !== null && typeof value === "object") {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${json(member)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}

/** The policy of one module. Without fields it allows nothing but to run. */
export class Policy {
  /** The HAL groups that it may call, as a mask. */
  readonly capabilities: number;
  /** Hard cap of linear memory, in 64 KiB pages. */
  readonly memoryPagesMax: number;
  /** Stack of the module, in bytes. */
  readonly stackSize: number;
  /** How many bytes memory may grow. */
  readonly heapSize: number;
  /** Longest that one call may run, in microseconds; 0 = unlimited. */
  readonly cpuQuotaUs: number;
  /** Least time between the starts of two successful steps, in microseconds. */
  readonly stepIntervalUs: number;
  /** What makes it due, as a mask. */
  readonly activation: number;
  /** The events that wake it, as a mask. */
  readonly eventSubscribe: number;
  /** Instructions that one call may execute; 0 = unlimited. */
  readonly fuelQuota: bigint;
  /** Order within a tick: lower runs first. */
  readonly priority: number;
  readonly #bytes: Buffer;

  /** Reads the fields with the strict parser of `app_config.json`. */
  constructor(fields: PolicyFields = {}) {
    const read = fields instanceof Read ? fields.policy : guarded(() => native.nativePolicyFromJson(json(fields)));
    this.capabilities = read.capabilities;
    this.memoryPagesMax = read.memoryPagesMax;
    this.stackSize = read.stackSize;
    this.heapSize = read.heapSize;
    this.cpuQuotaUs = read.cpuQuotaUs;
    this.stepIntervalUs = read.stepIntervalUs;
    this.activation = read.activation;
    this.eventSubscribe = read.eventSubscribe;
    this.fuelQuota = BigInt(read.fuelQuota);
    this.priority = read.priority;
    this.#bytes = read.bytes;
    Object.freeze(this);
  }

  /** Reads one policy from JSON. Only numbers name events and host groups here. */
  static fromJson(text: string): Policy {
    return policyOf(guarded(() => native.nativePolicyFromJson(text)));
  }

  /** Reads the 32-byte form: eight little-endian 32-bit numbers. */
  static fromBytes(data: Uint8Array): Policy {
    return policyOf(guarded(() => native.nativePolicyFromBytes(data)));
  }

  /** The 32-byte form. Fuel quota and priority are not in it. */
  toBytes(): Buffer {
    return Buffer.from(this.#bytes);
  }

  /** The fields, as `app_config.json` has them. */
  toFields(): PolicyFields {
    return {
      capabilities: this.capabilities,
      memory_pages_max: this.memoryPagesMax,
      stack_size: this.stackSize,
      heap_size: this.heapSize,
      cpu_quota_us: this.cpuQuotaUs,
      step_interval_us: this.stepIntervalUs,
      activation_mask: this.activation,
      event_subscribe: this.eventSubscribe,
      fuel_quota: this.fuelQuota,
      priority: this.priority,
    };
  }

  /** A policy like this one, with other values of some fields. */
  replace(fields: PolicyFields): Policy {
    const all = this.toFields();
    if (fields.activation !== undefined) {
      delete all.activation_mask;
    }
    return new Policy({ ...all, ...fields });
  }
}

/** A policy that native code has read. */
class Read {
  constructor(readonly policy: NativePolicy) {}
}

/** @internal */
export function policyOf(policy: NativePolicy): Policy {
  return new Policy(new Read(policy) as unknown as PolicyFields);
}

/** The fields of `application` in `app_config.json`. */
export interface ApplicationFields {
  name?: string;
  description?: string;
  max_modules?: number;
  memory_pool_bytes?: number | bigint;
  log_pool_bytes?: number;
  metering?: "wall" | "fuel" | "both";
  hal_groups?: readonly string[];
  custom_groups?: ReadonlyArray<{
    name: string;
    bit: number;
    functions: ReadonlyArray<{ name: string; params?: readonly string[]; results?: readonly string[] }>;
  }>;
  events?: Readonly<Record<string, number>>;
}

/** What concerns the whole runtime. */
export interface Application {
  readonly name: string;
  readonly description: string;
  readonly maxModules: number;
  readonly memoryPoolBytes: number;
  readonly logPoolBytes: number;
  readonly metering: "wall" | "fuel" | "both";
  /** The capabilities that policies may ask for, as a mask. */
  readonly capabilities: number;
  /** Event ids by name. */
  readonly events: ReadonlyMap<string, number>;
}

/** One module of an application. */
export interface ModuleDecl {
  readonly name: string;
  /** Where its artifact is, relative to the configuration. */
  readonly binary: string;
  readonly policy: Policy;
  /** The artifact itself, when the configuration carries it. */
  readonly artifact: Buffer | undefined;
}

/** An application with its modules: one reviewable file. */
export class AppConfig {
  /** @internal */
  readonly handle: NativeAppConfig;

  private constructor(handle: NativeAppConfig) {
    this.handle = handle;
  }

  /** Reads `app_config.json`. What is wrong is named with its JSON path. */
  static fromJson(text: string): AppConfig {
    return new AppConfig(guarded(() => native.NativeAppConfig.fromJson(text)));
  }

  /** Reads a packed application; its hashes are checked first. */
  static fromBinary(data: Uint8Array): AppConfig {
    return new AppConfig(guarded(() => native.NativeAppConfig.fromBinary(data)));
  }

  /** A configuration of an application alone. @internal */
  static ofApplication(fields: ApplicationFields | undefined): AppConfig {
    if (fields === undefined) {
      return new AppConfig(native.NativeAppConfig.defaults());
    }
    return AppConfig.fromJson(json({ application: { name: "node", ...fields } }));
  }

  /** Packs the application, with the artifacts that it carries. */
  toBinary(): Buffer {
    return guarded(() => this.handle.toBinary());
  }

  /** A configuration that carries these artifacts, by the names of the modules. */
  withArtifacts(artifacts: Readonly<Record<string, Uint8Array>>): AppConfig {
    let handle = this.handle;
    this.modules.forEach((module, index) => {
      const artifact = artifacts[module.name];
      if (artifact !== undefined) {
        handle = handle.withArtifact(index, artifact);
      }
    });
    return new AppConfig(handle);
  }

  /** Whether another one says the same. */
  equals(other: AppConfig): boolean {
    return this.handle.equals(other.handle);
  }

  /** What concerns the runtime. */
  get application(): Application {
    const { eventNames, eventIds, ...rest } = this.handle.application;
    const events = new Map(eventNames.map((name, index) => [name, eventIds[index] ?? 0]));
    return { ...rest, metering: rest.metering as Application["metering"], events };
  }

  /** The modules, in load order. */
  get modules(): ModuleDecl[] {
    return this.handle.modules.map((m) => ({
      name: m.name,
      binary: m.binary,
      policy: policyOf(m.policy),
      artifact: m.artifact,
    }));
  }
}
