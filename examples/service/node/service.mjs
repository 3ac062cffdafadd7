// A web service that hands each request to a module under policy: `node service.mjs`, then `curl -d hello localhost:8000/shout`.
// What a module does wrong ends its step: the caller gets 500 and the module begins anew, with fresh memory.
import { fileURLToPath } from "node:url";

import Fastify from "fastify";
import { ModuleFailedError, Runtime } from "fuse-runtime";

const MODULE = fileURLToPath(new URL("../modules/shout.wat", import.meta.url));

/** The service; closing it closes the runtime. */
export function build() {
  let [request, response] = [Buffer.alloc(0), Buffer.alloc(0)];
  const runtime = new Runtime({
    hal: {
      groups: [{
        name: "http",
        bit: 8,
        functions: [
          { name: "request_read", params: ["out"], result: "i32", callback: (buffer) => request.copy(buffer) },
          { name: "response_write", params: ["in"], callback: (text) => void (response = text) },
        ],
      }],
    },
  });
  const module = runtime.loadFile("shout", MODULE, { capabilities: 1 << 8, cpu_quota_us: 50_000, activation: "MANUAL" });
  module.start();

  const app = Fastify({ bodyLimit: 65_536 });
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_, body, done) => done(null, body));
  app.addContentTypeParser("text/plain", { parseAs: "buffer" }, (_, body, done) => done(null, body));
  app.post("/shout", async (incoming, reply) => {
    [request, response] = [incoming.body, Buffer.alloc(0)];
    try {
      module.runStep();
    } catch (error) {
      if (!(error instanceof ModuleFailedError)) throw error;
      module.restart();
      return reply.code(500).send({ detail: error.name });
    }
    return reply.type("text/plain").send(response);
  });
  app.addHook("onClose", async () => runtime.close());
  return app;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(await build().listen({ port: 8000 }));
}
