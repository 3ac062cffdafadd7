/**
 * Fuse runs code that you do not trust, next to code that must not fail.
 *
 * @packageDocumentation
 */
import { native } from "./native";

export { compile, inspect, type Artifact, type CompileOptions } from "./artifact";
export {
  BufferTooSmallError,
  ConflictError,
  EdgeError,
  ForbiddenError,
  FuseError,
  HalFault,
  HalTypeError,
  InternalError,
  IntervalNotElapsedError,
  InvalidArgError,
  InvalidRequestError,
  LoadFailedError,
  ModuleFailedError,
  ModuleLimitError,
  NotFoundError,
  OrchestratorError,
  OutOfMemoryError,
  PayloadTooLargeError,
  PolicyViolationError,
  QuotaExceededError,
  RateLimitedError,
  RecordNotFoundError,
  TrapError,
  UnauthorizedError,
  UnavailableError,
  UnimplementedError,
  WrongStateError,
  type ErrorKind,
  type OrchestratorErrorCode,
} from "./errors";
export {
  HAL_RESULT_MISMATCH,
  HAL_THROWN,
  type Frame,
  type Hal,
  type HalFunction,
  type HalGroup,
  type HostCallback,
  type ParamType,
  type ResultType,
} from "./hal";
export { type CallOptions } from "./promised";
export {
  Environment,
  Host,
  Orchestrator,
  Snapshot,
  type ApiKeyData,
  type EnvironmentData,
  type EventData,
  type ExecResult,
  type HostData,
  type HostDrainData,
  type OpenOptions,
  type Provider,
  type ProvisionRequest,
  type SnapshotData,
} from "./orchestrator";
export {
  Activation,
  AppConfig,
  Capability,
  Policy,
  type Application,
  type ApplicationFields,
  type ModuleDecl,
  type PolicyFields,
} from "./policy";
export {
  errorClass,
  EventPoster,
  ManualClock,
  Module,
  quantileNs,
  Runtime,
  TickReport,
  type Histogram,
  type LogRecord,
  type ModuleState,
  type ModuleStats,
  type RunOptions,
  type RuntimeOptions,
  type Source,
  type StepOutcome,
} from "./runtime";
export { Terminal } from "./terminal";

/** Name and version of the engine that artifacts are compiled for. */
export const ENGINE_VERSION: string = native.NATIVE_ENGINE;
/** The version of this package. */
export const VERSION: string = native.NATIVE_VERSION;
