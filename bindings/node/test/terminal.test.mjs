// Terminals: streams of what a program shows and reads, in this process and over REST.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { Readable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";

import * as fuse from "fuse-runtime";

import { skip, withServer } from "./server.mjs";

async function withEnvironment(plane, body) {
  try {
    await body(await (await plane.provision({ task_id: "t1" })).waitRunning());
  } finally {
    await plane.close();
  }
}

const here = (body) => async () => withEnvironment(await fuse.Orchestrator.inMemory(), body);
const there = (body) => () => withServer(async (url, token) => withEnvironment(await fuse.Orchestrator.connect(url, token), body));

async function next(terminal) {
  for await (const piece of terminal.iterator({ destroyOnReturn: false })) return piece.toString();
  return undefined;
}

async function shell(environment) {
  const terminal = await environment.attach({ rows: 40, cols: 120 });
  terminal.write("echo hello\n");
  assert.equal(await next(terminal), "hello\n");
  assert.equal(terminal.exitCode, undefined);
  await terminal.resize(10, 20);
  await assert.rejects(terminal.resize(0, 20), fuse.InvalidRequestError);
  terminal.write("echo again\nexit 3\n");
  let shown = "";
  for await (const piece of terminal) shown += piece;
  assert.deepEqual([shown, terminal.exitCode], ["again\n", 3]);
}
test("a shell is typed to until it exits", here(shell));
test("the same over REST", { skip }, there(shell));

async function streams(environment) {
  // A program with arguments, and streams that are piped through a shell with what holds back.
  const echo = await environment.attach({ cmd: ["echo", "a program"] });
  assert.deepEqual([Buffer.concat(await echo.toArray()).toString(), echo.exitCode], ["a program\n", 0]);
  const line = `echo ${"x".repeat(1000)}\n`;
  const terminal = await environment.attach();
  const shown = [];
  await pipeline(Readable.from([...Array(400).fill(line), "exit\n"]), terminal, async (pieces) => {
    for await (const piece of pieces) shown.push(piece);
  });
  assert.equal(Buffer.concat(shown).toString(), `${"x".repeat(1000)}\n`.repeat(400));
  assert.equal(terminal.exitCode, 0);
}
test("a program that ends before its last input is told to be taken", here(async (environment) => {
  const terminal = await environment.attach();
  const write = terminal._write.bind(terminal);
  terminal._write = (data, encoding, done) => write(data, encoding, (error) => setTimeout(done, 20, error));
  let shown = "";
  await pipeline(Readable.from(["echo hello\n", "exit 3\n"]), terminal, async (pieces) => {
    for await (const piece of pieces) shown += piece;
  });
  assert.deepEqual([shown, terminal.exitCode], ["hello\n", 3]);
}));

test("programs are piped to and from", here(streams));
test("programs are piped to and from over REST", { skip }, there(streams));

test("a close ends it", here(async (environment) => {
  const terminal = await environment.attach();
  setTimeout(() => terminal.close(), 50);
  await assert.rejects(finished(terminal), { code: "ERR_STREAM_PREMATURE_CLOSE" });
  assert.equal(terminal.exitCode, undefined);
  await assert.rejects(terminal.resize(1, 1), fuse.UnavailableError);
  {
    const other = await environment.attach();
    await other[Symbol.asyncDispose]();
    assert.ok(other.destroyed);
  }
  await assert.rejects(environment.attach({ rows: 0 }), fuse.InvalidRequestError);
  await assert.rejects(environment.attach({}, { signal: AbortSignal.abort() }), { name: "AbortError" });
  await environment.destroy();
  await assert.rejects(environment.attach(), fuse.OrchestratorError);
}));

test("a server that goes away is an error and no end", { skip }, () => withServer(async (url, token, kill) => {
  const plane = await fuse.Orchestrator.connect(url, token);
  const terminal = await (await (await plane.provision({ task_id: "t1" })).waitRunning()).attach();
  terminal.write("echo hello\n");
  assert.equal(await next(terminal), "hello\n");
  kill();
  await assert.rejects(terminal.toArray(), (e) => e instanceof fuse.UnavailableError && /broke off/.test(e.message));
  assert.equal(terminal.exitCode, undefined);
  await plane.close();
}));

test("a process ends when its terminal has", () => {
  const code = `const fuse = require("fuse-runtime");
    fuse.Orchestrator.inMemory().then(async (plane) => {
      const terminal = await (await (await plane.provision({ task_id: "t1" })).waitRunning()).attach();
      terminal.pipe(process.stdout);
      terminal.write("echo hello\\nexit\\n");
    });`;
  const ended = spawnSync(process.execPath, ["-e", code], { cwd: new URL("..", import.meta.url), encoding: "utf8", timeout: 60_000 });
  assert.deepEqual([ended.status, ended.stdout, ended.stderr], [0, "hello\n", ""]);
});
