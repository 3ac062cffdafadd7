// The service as its callers see it.
import assert from "node:assert/strict";
import { test } from "node:test";

import { build } from "./service.mjs";

test("requests are answered and failures harm nobody", async () => {
  const app = build();
  const post = (payload) => app.inject({ method: "POST", url: "/shout", headers: { "content-type": "text/plain" }, payload });
  assert.equal((await post("hello, World")).body, "HELLO, WORLD");
  const loop = await post("!");
  assert.deepEqual([loop.statusCode, loop.json().detail], [500, "QuotaExceededError"]);
  const trap = await post("?");
  assert.deepEqual([trap.statusCode, trap.json().detail], [500, "TrapError"]);
  assert.equal((await post("x".repeat(65_537))).statusCode, 413);
  assert.equal((await post("again")).body, "AGAIN");
  await app.close();
});
