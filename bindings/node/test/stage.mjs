// The stage of the orchestration scenarios: a control plane in virtual time behind the REST API, with a say in what goes
// wrong there. The program is named by FUSE_STAGE (bindings/calls/examples/stage.rs).
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export class Stage {
  static program = process.env.FUSE_STAGE;
  #process;
  #lines;

  static async start() {
    const stage = new Stage();
    stage.#process = spawn(Stage.program, { stdio: ["pipe", "pipe", "inherit"] });
    stage.#lines = createInterface({ input: stage.#process.stdout })[Symbol.asyncIterator]();
    return Object.assign(stage, await stage.#read());
  }

  async #read() {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("the stage has ended");
    return JSON.parse(value);
  }

  /** Makes it do something; what goes wrong is an error. */
  async act(step) {
    this.#process.stdin.write(`${JSON.stringify(step)}\n`);
    const { why } = await this.#read();
    if (why !== undefined) throw new Error(why);
  }

  async close() {
    this.#process.stdin.end();
    await once(this.#process, "exit");
  }
}
