/** The classes of errors of the edge runtime; the same names in every language. */
export type ErrorKind =
  | "InvalidArg"
  | "NotFound"
  | "ModuleLimit"
  | "LoadFailed"
  | "PolicyViolation"
  | "QuotaExceeded"
  | "Trap"
  | "IntervalNotElapsed"
  | "WrongState"
  | "BufferTooSmall"
  | "OutOfMemory";

/** Everything that Fuse throws. The message says what was tried, on what, why it failed and what helps. */
export class FuseError extends Error {
  /** Why, for programs. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** An error of the edge runtime; its `code` is its kind. */
export class EdgeError extends FuseError {
  declare readonly code: ErrorKind;
}

/** An argument, a policy or a configuration is not valid. */
export class InvalidArgError extends EdgeError {
  /** JSON path of what is wrong, where there is one. */
  readonly path: string | undefined = undefined;
}

/** No module has this id or name. Ids are never used twice. */
export class NotFoundError extends EdgeError {}

/** The runtime already holds `max_modules` modules. */
export class ModuleLimitError extends EdgeError {}

/** The artifact was refused; nothing was changed. */
export class LoadFailedError extends EdgeError {}

/** Guest code ended early. What a HAL callback threw is the `cause`. */
export class ModuleFailedError extends EdgeError {
  /** The module's name. */
  readonly module: string = "";
  /** What was running, such as `module_step`. */
  readonly entry: string = "";
  /** Why it ended. */
  readonly failure: string = "";
}

/** The module called what its policy does not allow. It is now Trapped. */
export class PolicyViolationError extends ModuleFailedError {}

/** The module used up a quota. It is now QuotaExceeded. */
export class QuotaExceededError extends ModuleFailedError {}

/** The module trapped, or a HAL callback failed under it. It is now Trapped. */
export class TrapError extends ModuleFailedError {
  /** The code of the callback that failed, where one did. */
  readonly faultCode: number | undefined = undefined;
}

/** The module's `step_interval_us` has not passed since its last successful step. */
export class IntervalNotElapsedError extends EdgeError {
  /** How long until it is due, in microseconds. */
  readonly remainingUs: number = 0;
}

/** The call is not legal in the state of the module or the runtime: closed, stopped, inside a call. */
export class WrongStateError extends EdgeError {}

/** The caller's buffer is too small. */
export class BufferTooSmallError extends EdgeError {}

/** The memory that was set aside for the runtime does not suffice. */
export class OutOfMemoryError extends EdgeError {}

type EdgeErrorClass = new (code: ErrorKind, message: string, options?: ErrorOptions) => EdgeError;

/** The class of each kind. */
export const edgeErrors: Readonly<Record<ErrorKind, EdgeErrorClass>> = {
  InvalidArg: InvalidArgError,
  NotFound: NotFoundError,
  ModuleLimit: ModuleLimitError,
  LoadFailed: LoadFailedError,
  PolicyViolation: PolicyViolationError,
  QuotaExceeded: QuotaExceededError,
  Trap: TrapError,
  IntervalNotElapsed: IntervalNotElapsedError,
  WrongState: WrongStateError,
  BufferTooSmall: BufferTooSmallError,
  OutOfMemory: OutOfMemoryError,
};

/** Thrown by a HAL callback to fail with a code of its own, a signed 32-bit integer: the module traps with it. */
export class HalFault extends Error {
  /** The host's own number for what went wrong. */
  readonly code: number;

  constructor(code: number, message = `HAL callback failed with code ${code}`) {
    super(message);
    this.name = "HalFault";
    this.code = code | 0;
  }
}

/** A HAL callback returned another type than its signature says; the `cause` of the TrapError. */
export class HalTypeError extends TypeError {
  override readonly name = "HalTypeError";
}

/** The error of a kind. @internal */
export function edgeError(kind: ErrorKind, message: string, options?: ErrorOptions): EdgeError {
  return new edgeErrors[kind](kind, message, options);
}

/** What native code threw, as an error of this package. @internal */
export function translated(thrown: unknown, cause?: { error: unknown }): unknown {
  const code = (thrown as { code?: unknown }).code;
  if (!(thrown instanceof Error) || typeof code !== "string" || !code.startsWith("{")) {
    return thrown;
  }
  const { kind, ...details } = JSON.parse(code) as { kind: ErrorKind };
  const error = edgeError(kind, thrown.message, cause && { cause: cause.error });
  Object.assign(error, details);
  Error.captureStackTrace(error, translated);
  return error;
}

/** Calls native code. @internal */
export function guarded<T>(call: () => T): T {
  try {
    return call();
  } catch (thrown) {
    throw translated(thrown);
  }
}
