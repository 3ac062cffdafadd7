import { guarded } from "./errors";
import { native } from "./native";
import { bytesOf, type Source } from "./runtime";

/** How to compile; what is absent has its default. */
export interface CompileOptions {
  /** What it will run on; default this machine. */
  target?: "x86_64" | "aarch64" | "riscv64" | "s390x" | "pulley32" | "pulley64" | "pulley32be" | "pulley64be";
  /** The metering of the runtimes that it will run in; default `wall`. */
  metering?: "wall" | "fuel" | "both";
  /** Which instructions it may use; default `common`. */
  cpu?: "common" | "base" | "v3" | "native";
  /** The trap mode of the runtimes that it will run in; default `explicit`. */
  traps?: "explicit" | "signals";
  /** Whether it carries the WebAssembly too; default true. */
  portable?: boolean;
}

/** What an artifact is, after its hashes have been checked. */
export interface Artifact {
  /** The engine that its code needs. */
  readonly identity: string;
  readonly target: string;
  readonly metering: string;
  readonly traps: string;
  readonly codeBytes: number;
  readonly codeSha256: string;
  /** The WebAssembly that it carries. */
  readonly portable?: Buffer;
}

/** Compiles WebAssembly (binary or text) into an artifact. */
export function compile(source: Source, options: CompileOptions = {}): Buffer {
  return guarded(() => native.nativeCompile(bytesOf(source), options));
}

/** Checks an artifact's hashes and says what it is. */
export function inspect(artifact: Uint8Array): Artifact {
  return guarded(() => native.nativeInspect(artifact));
}
