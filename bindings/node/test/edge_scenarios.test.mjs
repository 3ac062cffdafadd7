// Every edge scenario, as a native artifact and as one for the interpreter.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";

import { FOLDER, Runner } from "./edge_scenarios.mjs";

const files = readdirSync(FOLDER).filter((name) => name.endsWith(".json")).sort();

test("the scenarios are there", () => assert.ok(files.length > 100));

for (const target of [undefined, "pulley64"]) {
  for (const file of files) {
    test(`${path.parse(file).name}::${target ?? "native"}`, () => new Runner(path.join(FOLDER, file), target).play());
  }
}
