import { Duplex } from "node:stream";

import type { NativeTerminal } from "./native";
import { type CallOptions, promised } from "./promised";

/**
 * A program in an environment with a terminal: a stream of what it shows, and to what it reads. The readable side ends with
 * the program; what is typed after that is lost. An error means that the connection broke off: the program may still run.
 */
export class Terminal extends Duplex {
  readonly #native: NativeTerminal;

  /** @internal */
  constructor(native: NativeTerminal) {
    super({ allowHalfOpen: false });
    this.#native = native;
  }

  /** The program's exit code, once everything that it showed has been read; undefined before, and when it was closed. */
  get exitCode(): number | undefined {
    return this.#native.exitCode ?? undefined;
  }

  /** Tells a new size, 1 to 65535 rows and columns. */
  async resize(rows: number, cols: number, options?: CallOptions): Promise<void> {
    await promised((done) => this.#native.beginResize(rows, cols, done), options?.signal);
  }

  /** Takes the terminal away from the program. The same as `destroy()`. */
  close(): void {
    this.destroy();
  }

  /** @internal */
  override _read(): void {
    promised<Buffer>((done) => this.#native.beginRead(done)).then(
      (shown) => {
        if (shown === null) this.#end();
        // An empty piece would end the reading without an end.
        else if (shown.length === 0) this._read();
        else this.push(shown);
      },
      (error: Error) => this.destroy(error),
    );
  }

  // Who reads to the end destroys the stream, and a pipeline calls that premature while something is still being written.
  #end(): void {
    if (this.writableFinished) {
      this.push(null);
      return;
    }
    this.once("finish", () => this.push(null));
    this.end();
  }

  /** @internal */
  override _write(data: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // Why it takes no more is what the reading side tells, after what the program showed last.
    promised((end) => this.#native.beginWrite(data, end)).then(() => done(), () => done());
  }

  /** @internal */
  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#native.close();
    done(error);
  }
}
