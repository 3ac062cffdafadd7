// Builds `dist/` from `lib/` and a built addon: node build.mjs [addon]
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(here, "../../target");
const addon = process.argv[2] ?? path.join(target, "debug/libfuse_node.so");
const require = createRequire(import.meta.url);

rmSync(path.join(here, "dist"), { recursive: true, force: true });
mkdirSync(path.join(here, "dist"));
execFileSync(process.execPath, [require.resolve("typescript/bin/tsc"), "-p", here], { stdio: "inherit" });
copyFileSync(addon, path.join(here, "dist/fuse.node"));

// The module form names what the other one exports: one copy of the classes, whichever way they are imported.
const names = Object.keys(require("./dist/index.js")).filter((name) => name !== "__esModule").sort();
const esm = `import fuse from "./index.js";\nexport const {\n${names.map((n) => `  ${n},\n`).join("")}} = fuse;\nexport default fuse;\n`;
writeFileSync(path.join(here, "dist/index.mjs"), esm);
const types = 'export * from "./index.js";\nimport * as fuse from "./index.js";\nexport default fuse;\n';
writeFileSync(path.join(here, "dist/index.d.mts"), types);
