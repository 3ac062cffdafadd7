// A server with nothing in it, for tests: its program is named by FUSE_PROGRAM.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

export const program = process.env.FUSE_PROGRAM;
/** For tests that need it. */
export const skip = program ? false : "FUSE_PROGRAM names no server";

/** Calls `body` with the server's URL, its token, and a function that ends it without a word. */
export async function withServer(body) {
  const [token, folder] = [randomBytes(16).toString("hex"), mkdtempSync(path.join(tmpdir(), "fuse-node-"))];
  const env = { ...process.env, ORCH_AUTH_TOKEN: token, FUSE_DATA_DIR: folder };
  const server = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--provider", "stub"], { env, stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(server, "exit");
  const lines = createInterface({ input: server.stderr });
  try {
    const url = await new Promise((resolve, reject) => {
      lines.on("line", (line) => {
        const found = /listening on (http:[^ ,]+)/.exec(line);
        if (found) resolve(found[1]);
      });
      ended.then(([code]) => reject(new Error(`the server ended with ${code}`)), reject);
    });
    await body(url, token, () => server.kill("SIGKILL"));
  } finally {
    server.kill();
    await ended;
    rmSync(folder, { recursive: true });
  }
}
