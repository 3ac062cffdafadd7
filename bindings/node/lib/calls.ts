import { orchestratorError } from "./errors";
import { type Done, native, type NativePlane, type NativeStream } from "./native";
import { type CallOptions, promised } from "./promised";
import { Terminal } from "./terminal";

/** Calls of an orchestrator by name. @internal */
export class Calls {
  readonly #plane: NativePlane;

  private constructor(plane: NativePlane) {
    this.#plane = plane;
  }

  static async #make(begin: (done: Done<string>) => void): Promise<Calls> {
    return new Calls(new native.NativePlane(Number(await promised(begin))));
  }

  static inMemory(): Promise<Calls> {
    return Calls.#make((done) => native.nativeOpenPlane("in_memory", "", null, "", null, done));
  }

  static open(path: string, provider: string, hostData: string | null): Promise<Calls> {
    return Calls.#make((done) => native.nativeOpenPlane("open", path, null, provider, hostData, done));
  }

  static connect(url: string, token: string | null): Promise<Calls> {
    return Calls.#make((done) => native.nativeOpenPlane("connect", url, token, "", null, done));
  }

  /** What runs the environments, and what the program must be told of that. */
  get provider(): { name: "local" | "stub" | "remote"; url: string; why?: string; warning?: string } | undefined {
    const text = this.#plane.provider;
    return text === null ? undefined : JSON.parse(text);
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  async call(name: string, args: Record<string, unknown>, options?: CallOptions): Promise<any> {
    const text = JSON.stringify(args);
    const answer = await promised((done) => this.#plane.begin(name, text, done), options?.signal);
    return answer ? JSON.parse(answer) : undefined;
  }

  async upload(id: string, path: string, mode: number, content: Uint8Array, options?: CallOptions): Promise<void> {
    await promised((done) => this.#plane.beginUpload(id, path, mode, content, done), options?.signal);
  }

  /** The pieces of a stream, until it or the signal ends; what begins it is asked first. */
  async *stream(name: string, args: Record<string, unknown>, options?: CallOptions): AsyncGenerator<string, void, void> {
    const { signal } = options ?? {};
    let stream: NativeStream;
    try {
      stream = this.#plane.stream(name, JSON.stringify(args));
    } catch (thrown) {
      throw orchestratorError((thrown as Error).message);
    }
    for (;;) {
      const piece = await promised((done) => stream.begin(done), signal).catch((error: unknown) => {
        if (signal?.aborted && error === signal.reason) return null;
        throw error;
      });
      if (piece === null) return;
      yield piece;
    }
  }

  async attach(args: Record<string, unknown>, options?: CallOptions): Promise<Terminal> {
    const text = JSON.stringify(args);
    const number = await promised((done) => this.#plane.attach(text, done), options?.signal);
    return new Terminal(new native.NativeTerminal(Number(number)));
  }

  async close(): Promise<void> {
    await promised((done) => this.#plane.close(done));
  }
}
