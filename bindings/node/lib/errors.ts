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

/** Why a call of the orchestrator failed, as the REST API spells it. */
export type OrchestratorErrorCode =
  | "not_found"
  | "conflict"
  | "invalid_argument"
  | "unauthorized"
  | "forbidden"
  | "unavailable"
  | "rate_limited"
  | "unimplemented"
  | "payload_too_large"
  | "internal";

/** An error of the orchestrator; the same in this process and over REST. */
export class OrchestratorError extends FuseError {
  declare readonly code: OrchestratorErrorCode;
  /** More, by name: `kind` says which error it is, the others are its parts. */
  readonly details: Readonly<Record<string, string>>;

  constructor(code: OrchestratorErrorCode, message: string, details: Record<string, string> = {}) {
    super(code, message);
    this.details = details;
  }
}

/** There is no such environment, host, snapshot, key or dead letter. */
export class RecordNotFoundError extends OrchestratorError {}
/** What was asked for does not go with what is. */
export class ConflictError extends OrchestratorError {}
/** The request is not valid; `details` has every field that is wrong. */
export class InvalidRequestError extends OrchestratorError {}
/** The token is missing or not taken. */
export class UnauthorizedError extends OrchestratorError {}
/** The key does not allow this. */
export class ForbiddenError extends OrchestratorError {}
/** Not now: no room, no answer, closed, or it takes longer than the limit. */
export class UnavailableError extends OrchestratorError {}
/** Too many requests. */
export class RateLimitedError extends OrchestratorError {}
/** The host or the control plane cannot do this. */
export class UnimplementedError extends OrchestratorError {}
/** More bytes than the limit. */
export class PayloadTooLargeError extends OrchestratorError {}
/** The control plane or a host failed. */
export class InternalError extends OrchestratorError {}

const orchestratorErrors: Readonly<Record<OrchestratorErrorCode, typeof OrchestratorError>> = {
  not_found: RecordNotFoundError,
  conflict: ConflictError,
  invalid_argument: InvalidRequestError,
  unauthorized: UnauthorizedError,
  forbidden: ForbiddenError,
  unavailable: UnavailableError,
  rate_limited: RateLimitedError,
  unimplemented: UnimplementedError,
  payload_too_large: PayloadTooLargeError,
  internal: InternalError,
};

/** The error for an error body of the REST API. @internal */
export function orchestratorError(body: string): Error {
  if (!body.startsWith("{")) {
    return new InternalError("internal", body);
  }
  const { error } = JSON.parse(body) as { error: { code: string; message: string; details?: Record<string, string> } };
  const code = error.code === "route_not_found" ? "not_found" : (error.code as OrchestratorErrorCode);
  const known = orchestratorErrors[code] as typeof OrchestratorError | undefined;
  return new (known ?? InternalError)(known ? code : "internal", error.message, error.details);
}
