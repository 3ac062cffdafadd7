import { HalFault, HalTypeError } from "./errors";
import type { NativeFunction } from "./native";

/** The code of the trap when a callback threw something else than a HalFault. */
export const HAL_THROWN = -(2 ** 31) + 1;
/** The code of the trap when a callback returned another type than its signature says. */
export const HAL_RESULT_MISMATCH = -(2 ** 31);

/** Bytes that a camera returns: any view of a buffer. */
export type Frame = ArrayBufferView | ArrayBuffer;
/** A parameter of a host function: a number, or a buffer that the callback reads, writes, or both. */
export type ParamType = "i32" | "i64" | "f32" | "f64" | "in" | "out" | "inout";
/** The result of a host function. `i64` is a bigint. */
export type ResultType = "i32" | "i64" | "f32" | "f64";
/** What a host function gets: `i64` as bigint, other numbers as number, buffers as Buffer. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type HostCallback = (...args: any[]) => number | bigint | void | null;

/** One function of a group. */
export interface HalFunction {
  name: string;
  params?: readonly ParamType[];
  result?: ResultType;
  callback: HostCallback;
}

/** A group of the host's own functions: a name and a capability bit (8 to 31). */
export interface HalGroup {
  name: string;
  bit: number;
  functions: readonly HalFunction[];
}

/** The callbacks of a runtime. They run on the thread of JavaScript that steps. */
export interface Hal {
  /** Degrees Celsius. */
  temp?: () => number;
  /** Monotonic microseconds. */
  timer?: () => number | bigint;
  /** Gets the most bytes that the module takes; returns the newest frame. What is too long is cut. */
  camera?: (maxLen: number) => Frame | null | undefined;
  /** Groups of the host's own. */
  groups?: readonly HalGroup[];
}

/** What callbacks threw, and which module calls. @internal */
export class Calls {
  readonly thrown: unknown[] = [];
  /** The two halves of the id of the module that calls. */
  caller: [slot: number, generation: number] | undefined;

  #fault(thrown: unknown): string {
    this.thrown.push(thrown);
    if (thrown instanceof HalFault) {
      return String(thrown.code);
    }
    return String(thrown instanceof HalTypeError ? HAL_RESULT_MISMATCH : HAL_THROWN);
  }

  temp(callback: () => number): () => number | string {
    return () => {
      try {
        return number("temp_get_reading", "f32", callback());
      } catch (thrown) {
        return this.#fault(thrown);
      }
    };
  }

  timer(callback: () => number | bigint): () => bigint | string {
    return () => {
      try {
        return whole("timer_get_timestamp", callback());
      } catch (thrown) {
        return this.#fault(thrown);
      }
    };
  }

  camera(callback: (maxLen: number) => Frame | null | undefined): (maxLen: number) => Uint8Array | null | string {
    return (maxLen) => {
      try {
        return bytes(callback(maxLen));
      } catch (thrown) {
        return this.#fault(thrown);
      }
    };
  }

  host(declared: HalFunction): NativeFunction {
    let buffers: Array<number | bigint | Buffer> = [];
    const callback = (args: Array<number | bigint | Buffer>): number | bigint | null | string => {
      const [slot, generation, ...rest] = args;
      const before = this.caller;
      this.caller = [Number(slot), Number(generation)];
      buffers = rest;
      try {
        return result(declared, declared.callback(...rest));
      } catch (thrown) {
        return this.#fault(thrown);
      } finally {
        this.caller = before;
      }
    };
    const buffer = (param: number): Uint8Array | null => {
      const given = buffers[param];
      return given instanceof Uint8Array ? given : null;
    };
    const { name, params = [] } = declared;
    const shape = { name, params: [...params], callback, buffer };
    return declared.result === undefined ? shape : { ...shape, result: declared.result };
  }
}

function mismatch(name: string, what: string, value: unknown): HalTypeError {
  const is = value === null ? "null" : typeof value === "number" ? String(value) : typeof value;
  return new HalTypeError(`the callback of \`${name}\` must return ${what}, it returned ${is}`);
}

function number(name: string, type: ResultType, value: unknown): number {
  if (typeof value !== "number") {
    throw mismatch(name, `a number (${type})`, value);
  }
  return value;
}

function whole(name: string, value: unknown): bigint {
  if (typeof value === "bigint") {
    return value;
  }
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw mismatch(name, "a bigint or a whole number (i64)", value);
  }
  return BigInt(value);
}

function result(declared: HalFunction, value: unknown): number | bigint | null {
  switch (declared.result) {
    case undefined:
      if (value !== undefined && value !== null) {
        throw mismatch(declared.name, "nothing", value);
      }
      return null;
    case "i64":
      return whole(declared.name, value);
    case "i32":
      if (typeof value !== "number" || (value | 0) !== value) {
        throw mismatch(declared.name, "a whole number of 32 bits (i32)", value);
      }
      return value;
    default:
      return number(declared.name, declared.result, value);
  }
}

function bytes(frame: unknown): Uint8Array | null {
  if (frame === null || frame === undefined) {
    return null;
  }
  if (frame instanceof Uint8Array) {
    return frame;
  }
  if (ArrayBuffer.isView(frame)) {
    return new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength);
  }
  if (frame instanceof ArrayBuffer) {
    return new Uint8Array(frame);
  }
  throw mismatch("camera_last_frame", "a typed array, a DataView, an ArrayBuffer or null", frame);
}
