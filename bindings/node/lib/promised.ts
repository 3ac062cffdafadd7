import { orchestratorError } from "./errors";
import type { Done, NativePending } from "./native";

/** Ends a call from outside: the promise is rejected with the signal's reason, and the control plane finishes what it began. */
export interface CallOptions {
  signal?: AbortSignal;
}

/** A call as a promise. @internal */
export function promised<T = string>(
  begin: (done: Done<T>) => NativePending | void,
  signal?: AbortSignal,
): Promise<T | null> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let pending: NativePending | void = undefined;
    const abort = (): void => {
      pending?.cancel();
      reject(signal?.reason);
    };
    const done: Done<T> = (ok, answer) => {
      signal?.removeEventListener("abort", abort);
      if (ok) resolve(answer as T | null);
      else reject(orchestratorError(String(answer ?? "")));
    };
    signal?.addEventListener("abort", abort, { once: true });
    try {
      pending = begin(done);
    } catch (thrown) {
      signal?.removeEventListener("abort", abort);
      reject(orchestratorError((thrown as Error).message));
    }
  });
}
