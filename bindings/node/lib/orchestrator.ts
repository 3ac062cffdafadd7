import { Calls } from "./calls";
import type { CallOptions } from "./promised";
import type { Terminal } from "./terminal";

/** An environment as the REST API shows it; what is empty is left out. */
export interface EnvironmentData {
  readonly id: string;
  readonly state: string;
  readonly task_id?: string;
  readonly url?: string;
  readonly host_id?: string;
  readonly error?: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly spec: Readonly<Record<string, unknown>>;
  readonly reason?: { readonly code: string; readonly text?: string };
  readonly forked_from?: string;
  readonly [field: string]: unknown;
}

/** A snapshot as the REST API shows it. */
export interface SnapshotData {
  readonly id: string;
  readonly state: string;
  readonly mode: string;
  readonly comment?: string;
  readonly parent_snapshot_id?: string;
  readonly [field: string]: unknown;
}

/** A host as the REST API shows it. */
export interface HostData {
  readonly id: string;
  readonly state: string;
  readonly url: string;
  readonly region?: string;
  readonly [field: string]: unknown;
}

/** How the emptying of a host goes. */
export interface HostDrainData {
  readonly since: string;
  /** How many environments the host had when it was asked for. */
  readonly environments: number;
  /** How many environments and teardowns it still has. */
  readonly left: number;
  readonly finished_at?: string;
  readonly [field: string]: unknown;
}

/** An API key as the REST API shows it; `key` is there once, when it is made. */
export interface ApiKeyData {
  readonly id: string;
  readonly label?: string;
  readonly key?: string;
  readonly [field: string]: unknown;
}

/** A frame of `GET /v1/events`: something that happened, or (`lost`) what was missed. */
export interface EventData {
  readonly id: string;
  readonly event: string;
  readonly sequence?: number;
  readonly subject?: { readonly kind: string; readonly id: string };
  readonly [field: string]: unknown;
}

/** How a command ended. */
export interface ExecResult {
  /** 124 when it ran out of time. */
  readonly exitCode: number;
  /** Bytes that are not UTF-8 are replaced. */
  readonly stdout: string;
  /** Bytes that are not UTF-8 are replaced. */
  readonly stderr: string;
  /** The bytes as they were. */
  readonly stdoutBytes: Buffer;
  /** The bytes as they were. */
  readonly stderrBytes: Buffer;
}

/** The body of `POST /v1/environments`; files are bytes or text, and `manifest` is an object. */
export interface ProvisionRequest {
  task_id: string;
  spec?: Readonly<Record<string, unknown>>;
  agent?: Readonly<Record<string, unknown>>;
  secrets?: Readonly<Record<string, string>>;
  files?: Readonly<Record<string, string | Uint8Array>>;
  manifest?: unknown;
  startup_script?: string;
  seed_snapshot_id?: string;
  [field: string]: unknown;
}

/** What runs the environments of a control plane in this process: its host `default`, as it was when it was opened. */
export interface Provider {
  /** VMs of this machine, the stub, or a host agent that somebody registered under this name. */
  readonly name: "local" | "stub" | "remote";
  readonly url: string;
  /** Why it is the stub, or why its VMs cannot be reached; not there when all is as it should be. */
  readonly why?: string;
}

/** How `Orchestrator.open` opens. */
export interface OpenOptions {
  /**
   * What runs environments. `auto`: real VMs of this machine where QEMU or Firecracker and an image are installed, else the
   * stub, which runs commands in memory and isolates nothing, with a warning that says why. `local`: real VMs, or an
   * UnavailableError that says what is missing. `stub`: the stub.
   */
  provider?: "auto" | "local" | "stub";
  /** The folder of this machine's VMs and images; else `$FUSE_HOST_DATA`, else `/var/lib/fuse-host-agent`. */
  hostData?: string;
}

function base64(content: string | Uint8Array): string {
  return Buffer.from(content as Uint8Array).toString("base64");
}

function bodyOf({ files, manifest, ...request }: ProvisionRequest): Record<string, unknown> {
  const coded = files && Object.fromEntries(Object.entries(files).map(([path, content]) => [path, base64(content)]));
  const inline = manifest === undefined ? undefined : base64(JSON.stringify(manifest));
  return { ...request, ...(coded && { files: coded }), ...(inline && { manifest_inline: inline }) };
}

/**
 * A fleet of environments, in this process or behind the REST API: the same methods, the same errors. Calls are promises;
 * each takes a signal.
 */
export class Orchestrator {
  readonly #calls: Calls;
  /** What runs its environments; undefined behind the REST API, where that is the server's affair. */
  readonly provider: Provider | undefined;

  private constructor(calls: Calls) {
    this.#calls = calls;
    const { warning, ...provider } = calls.provider ?? {};
    this.provider = calls.provider && (provider as Provider);
    if (warning !== undefined) process.emitWarning(warning, { type: "FuseProviderWarning", code: "FUSE_PROVIDER" });
  }

  /** One whose state ends with the program, with one stub host. For trying out and for tests. */
  static async inMemory(): Promise<Orchestrator> {
    return new Orchestrator(await Calls.inMemory());
  }

  /**
   * One whose state is in a directory, with real VMs of this machine where there can be some. One process at a time can have
   * it open; VMs outlive the process, and the next one that opens the directory takes them over.
   */
  static async open(path: string, options: OpenOptions = {}): Promise<Orchestrator> {
    return new Orchestrator(await Calls.open(path, options.provider ?? "auto", options.hostData ?? null));
  }

  /** The control plane that answers at a URL, asked with a bearer token: the master token or an API key. */
  static async connect(url: string, token?: string): Promise<Orchestrator> {
    return new Orchestrator(await Calls.connect(url, token ?? null));
  }

  /** Ends the work of a control plane in this process; one behind the REST API goes on. */
  async close(): Promise<void> {
    await this.#calls.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Asks whether the control plane can act. */
  async check(limitSeconds = 10, options?: CallOptions): Promise<void> {
    await this.#calls.call("check", { limit_seconds: limitSeconds }, options);
  }

  /** Asks for an environment, which comes up in the background. */
  async provision(
    request: ProvisionRequest,
    options: CallOptions & { idempotencyKey?: string } = {},
  ): Promise<Environment> {
    const args = { request: bodyOf(request), idempotency_key: options.idempotencyKey };
    return new Environment(this, this.#calls, await this.#calls.call("provision", args, options));
  }

  /** The environment of this name. */
  async get(id: string, options?: CallOptions): Promise<Environment> {
    return new Environment(this, this.#calls, await this.#calls.call("get", { id }, options));
  }

  async *#pages(call: string, list: string, filters: Record<string, string>, options?: CallOptions) {
    const request: Record<string, string> = { limit: "200", ...filters };
    for (;;) {
      const page = await this.#calls.call(call, { request }, options);
      yield* page[list];
      if (page.next_cursor === undefined) return;
      request["cursor"] = page.next_cursor;
    }
  }

  /** All environments that pass the filters of `GET /v1/environments`, by id. */
  async *environments(
    filters: { task_id?: string; state?: string; host_id?: string; limit?: string } = {},
    options?: CallOptions,
  ): AsyncGenerator<Environment, void, void> {
    for await (const data of this.#pages("list", "environments", filters, options)) {
      yield new Environment(this, this.#calls, data);
    }
  }

  /** The snapshot of this name. */
  async snapshot(id: string, options?: CallOptions): Promise<Snapshot> {
    return new Snapshot(this, this.#calls, await this.#calls.call("snapshot", { id }, options));
  }

  /** All snapshots that pass the filters of `GET /v1/snapshots`, newest first. */
  async *snapshots(filters: Record<string, string> = {}, options?: CallOptions): AsyncGenerator<Snapshot, void, void> {
    for await (const data of this.#pages("snapshots", "snapshots", filters, options)) {
      yield new Snapshot(this, this.#calls, data);
    }
  }

  /** The newest ready snapshot of a layer of a build, for an architecture; undefined without one. */
  async resolveSnapshot(layerKey: string, arch: "amd64" | "arm64", options?: CallOptions): Promise<Snapshot | undefined> {
    const found = await this.#calls.call("resolve_snapshot", { layer_key: layerKey, arch }, options);
    return found && new Snapshot(this, this.#calls, found);
  }

  /** Adds a host, or says something new of one: the body of `POST /v1/hosts`. */
  async registerHost(request: { id: string; url: string; [field: string]: unknown }, options?: CallOptions): Promise<Host> {
    return new Host(this, this.#calls, await this.#calls.call("register_host", { request }, options));
  }

  /** The host of this name. */
  async host(id: string, options?: CallOptions): Promise<Host> {
    return new Host(this, this.#calls, await this.#calls.call("host", { id }, options));
  }

  /** All hosts, by id. */
  async *hosts(options?: CallOptions): AsyncGenerator<Host, void, void> {
    for await (const data of this.#pages("hosts", "hosts", {}, options)) {
      yield new Host(this, this.#calls, data);
    }
  }

  /**
   * Empties a host in the background: cordons it, drains its environments, and destroys each when its drain has ended or
   * the limit is over. `Host.uncordon` takes the order back.
   */
  async drainHost(id: string, options: CallOptions & { limitSeconds?: number } = {}): Promise<HostDrainData> {
    return this.#calls.call("drain_host", { id, limit_seconds: options.limitSeconds }, options);
  }

  /** How the emptying of a host goes; undefined when nobody asked for it. */
  async hostDrain(id: string, options?: CallOptions): Promise<HostDrainData | undefined> {
    return this.#calls.call("host_drain", { id }, options);
  }

  /** Events as they happen, from those after a number on, or from now on. It ends with the signal, and with the control plane. */
  async *events(
    query: { after?: number; subject_kind?: string; subject_id?: string } = {},
    options?: CallOptions,
  ): AsyncGenerator<EventData, void, void> {
    const after = query.after ?? (await this.newestEvent(options));
    for await (const frame of this.#calls.stream("events", { ...query, after: String(after) }, options)) {
      yield JSON.parse(frame) as EventData;
    }
  }

  /** The number of the newest event; 0 when there is none. */
  async newestEvent(options?: CallOptions): Promise<number> {
    return this.#calls.call("newest_event", {}, options);
  }

  /** Makes a key with some of the scopes read, write, admin. Only this answer has the key itself. */
  async createApiKey(
    request: { label?: string; scopes?: readonly ("read" | "write" | "admin")[] } = {},
    options?: CallOptions,
  ): Promise<ApiKeyData> {
    return this.#calls.call("create_api_key", { request }, options);
  }

  /** All keys, newest first, revoked ones too. */
  async apiKeys(options?: CallOptions): Promise<ApiKeyData[]> {
    return (await this.#calls.call("api_keys", {}, options)).api_keys;
  }

  /** Makes a key useless, for ever. */
  async revokeApiKey(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.call("revoke_api_key", { id }, options);
  }

  /** What the control plane keeps failing at. */
  async deadLetters(options?: CallOptions): Promise<Array<{ readonly id: string; readonly [field: string]: unknown }>> {
    return (await this.#calls.call("dead_letters", {}, options)).dead_letters;
  }

  /** Tries again now. */
  async retryDeadLetter(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.call("retry_dead_letter", { id }, options);
  }

  /** Takes it away. */
  async dismissDeadLetter(id: string, options?: CallOptions): Promise<void> {
    await this.#calls.call("dismiss_dead_letter", { id }, options);
  }
}

/** A record that its orchestrator can act on. */
class Owned<Data extends { readonly id: string; readonly state: string }> {
  /** The fields of the REST API, as of the last call. */
  data: Data;
  /** @internal */
  protected readonly fuse: Orchestrator;
  /** @internal */
  protected readonly calls: Calls;

  /** @internal */
  constructor(fuse: Orchestrator, calls: Calls, data: Data) {
    this.data = data;
    this.fuse = fuse;
    // What `console.log` shows is the data.
    this.calls = calls;
    Object.defineProperty(this, "fuse", { enumerable: false });
    Object.defineProperty(this, "calls", { enumerable: false });
  }

  /** Its name. */
  get id(): string {
    return this.data.id;
  }

  /** Where it stands, as of when this object was last refreshed. */
  get state(): string {
    return this.data.state;
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  protected call(name: string, args: Record<string, unknown> = {}, options?: CallOptions): Promise<any> {
    return this.calls.call(name, { id: this.id, ...args }, options);
  }
}

/** One sandbox and its task. */
export class Environment extends Owned<EnvironmentData> {
  /** Looks again, and returns itself. */
  async refresh(options?: CallOptions): Promise<this> {
    this.data = await this.call("get", {}, options);
    return this;
  }

  /** Waits until it runs, and returns itself. UnavailableError when that takes longer: it goes on. */
  async waitRunning(limitSeconds = 600, options?: CallOptions): Promise<this> {
    this.data = await this.call("wait_running", { limit_seconds: limitSeconds }, options);
    return this;
  }

  /** Runs a program with arguments (a list), or a command line for `sh -lc` (text), whatever its exit code. */
  async exec(command: string | readonly string[], options: CallOptions & { timeoutMs?: number } = {}): Promise<ExecResult> {
    const what = typeof command === "string" ? { shell: command } : { cmd: command };
    const request = { ...what, timeout_ms: options.timeoutMs ?? 60_000 };
    const answer = await this.call("exec", { request }, options);
    const raw = (name: string): Buffer =>
      answer[`${name}_b64`] === undefined ? Buffer.from(answer[name]) : Buffer.from(answer[`${name}_b64`], "base64");
    return {
      exitCode: answer.exit_code,
      stdout: answer.stdout,
      stderr: answer.stderr,
      stdoutBytes: raw("stdout"),
      stderrBytes: raw("stderr"),
    };
  }

  /**
   * Runs a program with arguments, or a login shell, with a terminal of this size (24 rows and 80 columns). While it is open
   * the environment counts as used.
   */
  async attach(
    request: { cmd?: readonly string[]; rows?: number; cols?: number } = {},
    options?: CallOptions,
  ): Promise<Terminal> {
    return this.calls.attach({ id: this.id, ...request }, options);
  }

  /** Writes a file in the guest. */
  async upload(path: string, content: string | Uint8Array, options: CallOptions & { mode?: number } = {}): Promise<void> {
    await this.calls.upload(this.id, path, options.mode ?? 0o644, Buffer.from(content as Uint8Array), options);
  }

  /** The end of a log. It is there after the environment has ended too. */
  async logs(source: "console" | "startup" | "agent" = "console", options?: CallOptions): Promise<string> {
    return this.call("logs", { source }, options);
  }

  /** The end of a log, and then what is written from now on, until the environment or the signal ends. */
  followLogs(source: "console" | "startup" | "agent" = "console", options?: CallOptions): AsyncGenerator<string, void, void> {
    return this.calls.stream("logs", { id: this.id, source }, options);
  }

  /** What happens to it, from now on or after a number. */
  events(query: { after?: number } = {}, options?: CallOptions): AsyncGenerator<EventData, void, void> {
    return this.fuse.events({ ...query, subject_kind: "environment", subject_id: this.id }, options);
  }

  /** Tells it to end its work, and returns itself. */
  async drain(options?: CallOptions): Promise<this> {
    this.data = await this.call("drain", {}, options);
    return this;
  }

  /** Destroys it, whatever it is doing. */
  async destroy(options?: CallOptions): Promise<void> {
    await this.call("destroy", {}, options);
  }

  /** Gives its agent new credentials; the old ones are refused from now on. */
  async rotateToken(options?: CallOptions): Promise<void> {
    await this.call("rotate_token", {}, options);
  }

  /** A new environment that begins with this one's disk, and comes up in the background. */
  async fork(request: Record<string, unknown> = {}, options?: CallOptions): Promise<Environment> {
    return new Environment(this.fuse, this.calls, await this.call("fork", { request }, options));
  }

  /** Keeps its disk: the body of `POST /v1/environments/{id}/snapshots`. */
  async createSnapshot(request: Record<string, unknown> = {}, options?: CallOptions): Promise<Snapshot> {
    return new Snapshot(this.fuse, this.calls, await this.call("create_snapshot", { request }, options));
  }
}

/** A kept disk. */
export class Snapshot extends Owned<SnapshotData> {
  /** Looks again, and returns itself. */
  async refresh(options?: CallOptions): Promise<this> {
    this.data = await this.call("snapshot", {}, options);
    return this;
  }

  /** Sets its environment back to it. */
  async restore(options?: CallOptions): Promise<void> {
    await this.call("restore_snapshot", {}, options);
  }

  /** Removes it. */
  async delete(options?: CallOptions): Promise<void> {
    await this.call("delete_snapshot", {}, options);
  }

  /** The snapshots that it came of, the nearest first. */
  async lineage(options?: CallOptions): Promise<Snapshot[]> {
    const { snapshots } = (await this.call("lineage", {}, options)) as { snapshots: SnapshotData[] };
    return snapshots.map((data) => new Snapshot(this.fuse, this.calls, data));
  }
}

/** A machine that runs environments. Its token is never shown. */
export class Host extends Owned<HostData> {
  /** Looks again, and returns itself. */
  async refresh(options?: CallOptions): Promise<this> {
    this.data = await this.call("host", {}, options);
    return this;
  }

  /** No new environments go there. */
  async cordon(options?: CallOptions): Promise<void> {
    await this.call("cordon", {}, options);
  }

  /** New environments may go there again. */
  async uncordon(options?: CallOptions): Promise<void> {
    await this.call("uncordon", {}, options);
  }

  /** Takes it out of the fleet; with `force` whatever it holds. */
  async remove(options: CallOptions & { force?: boolean } = {}): Promise<void> {
    await this.call("remove_host", { force: options.force ?? false }, options);
  }
}
