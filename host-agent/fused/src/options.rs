//! How the agent was started.

use std::{net::SocketAddr, path::PathBuf};

use fuse_guest_protocol::{SERIAL_PORT, TCP_PORT, VSOCK_PORT};

/// The number of the host on vsock.
const HOST_CID: u32 = 2;

/// What `--help` shows.
pub(crate) const USAGE: &str = "\
fused: the guest agent of Fuse

As process 1 it is the init of the guest: it mounts, loads modules, starts itself as a service, and reaps.
Otherwise it is the service. Options of the service:

  --listen ADDRESS:PORT    TCP, HTTP and the guest protocol (default 0.0.0.0:9550; `off`: none)
  --vsock-port PORT        vsock (default 9550; `off`: none)
  --vsock-peer CID         who is the host there (default 2; 1: programs of this machine, for tests)
  --serial PATH            virtio-serial port, or a Unix socket (default /dev/virtio-ports/agent.0; `off`: none)
  --fuse-dir DIRECTORY     where the files of the environment are (default /fuse)
  --manifest, --secrets, --auth-token-file, --tls-cert, --tls-key, --healthcheck, --health-state FILE
                           each of them elsewhere
  --vm-id NAME             the VM, until the host says otherwise
  --gateway URL            the gateway of the workload; its token is in --gateway-token-file FILE
  --insecure               take requests without a token
  --machine                the machine is the agent's: it may set clock, name and network, and end it
  --stay                   SIGTERM drains the workload; SIGINT ends the agent. Without it both end the agent
  --version, --help
";

/// How the agent was started.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) vsock_port: Option<u32>,
    pub(crate) vsock_peer: u32,
    pub(crate) serial: Option<PathBuf>,
    pub(crate) fuse_dir: PathBuf,
    pub(crate) manifest: PathBuf,
    pub(crate) secrets: PathBuf,
    pub(crate) token_file: PathBuf,
    pub(crate) tls_cert: PathBuf,
    pub(crate) tls_key: PathBuf,
    pub(crate) healthcheck: PathBuf,
    pub(crate) health_state: PathBuf,
    pub(crate) vm_id: String,
    pub(crate) gateway: String,
    pub(crate) gateway_token_file: Option<PathBuf>,
    pub(crate) insecure: bool,
    pub(crate) machine: bool,
    pub(crate) stay: bool,
}

/// What the command line asks for.
pub(crate) enum Asked {
    Serve(Box<Options>),
    Help,
    Version,
}

impl Options {
    /// The defaults, with the files of the environment below `fuse_dir`.
    pub(crate) fn below(fuse_dir: PathBuf) -> Self {
        let file = |name: &str| fuse_dir.join(name);
        Self {
            listen: Some(SocketAddr::from(([0, 0, 0, 0], TCP_PORT))),
            vsock_port: Some(VSOCK_PORT),
            vsock_peer: HOST_CID,
            serial: Some(PathBuf::from("/dev/virtio-ports").join(SERIAL_PORT)),
            manifest: file("manifest.json"),
            secrets: file("secrets.json"),
            token_file: file("auth-token"),
            tls_cert: file("tls/cert.pem"),
            tls_key: file("tls/key.pem"),
            healthcheck: file("healthcheck.json"),
            health_state: file("health.json"),
            vm_id: String::new(),
            gateway: String::new(),
            gateway_token_file: None,
            insecure: false,
            machine: false,
            stay: false,
            fuse_dir,
        }
    }

    /// Reads the command line, without the program's name.
    pub(crate) fn parse(arguments: &[String]) -> Result<Asked, String> {
        let mut pairs = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            match name {
                "--help" | "-h" => return Ok(Asked::Help),
                "--version" => return Ok(Asked::Version),
                "--insecure" | "--machine" | "--stay" => pairs.push((name, String::new())),
                _ => {
                    let value = value.or_else(|| rest.next().cloned());
                    pairs.push((name, value.ok_or(format!("{name} needs a value; see --help"))?));
                }
            }
        }
        let fuse_dir = pairs.iter().rev().find(|(name, _)| *name == "--fuse-dir");
        let fuse_dir = fuse_dir.map_or("/fuse", |(_, directory)| directory);
        let mut options = Self::below(PathBuf::from(fuse_dir));
        for (name, value) in &pairs {
            options.set(name, value)?;
        }
        Ok(Asked::Serve(Box::new(options)))
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let on = value != "off";
        let number = |error: &dyn std::fmt::Display| format!("{name} {value}: {error}");
        match name {
            "--listen" => self.listen = on.then(|| value.parse()).transpose().map_err(|e| number(&e))?,
            "--vsock-port" => {
                self.vsock_port = on.then(|| value.parse()).transpose().map_err(|e| number(&e))?
            }
            "--vsock-peer" => self.vsock_peer = value.parse().map_err(|e| number(&e))?,
            "--serial" => self.serial = on.then(|| value.into()),
            "--fuse-dir" => {}
            "--manifest" => self.manifest = value.into(),
            "--secrets" => self.secrets = value.into(),
            "--auth-token-file" => self.token_file = value.into(),
            "--tls-cert" => self.tls_cert = value.into(),
            "--tls-key" => self.tls_key = value.into(),
            "--healthcheck" => self.healthcheck = value.into(),
            "--health-state" => self.health_state = value.into(),
            "--vm-id" => self.vm_id = value.to_owned(),
            "--gateway" => self.gateway = value.to_owned(),
            "--gateway-token-file" => self.gateway_token_file = Some(value.into()),
            "--insecure" => self.insecure = true,
            "--machine" => self.machine = true,
            "--stay" => self.stay = true,
            "--gateway-token" => {
                return Err("--gateway-token would show the token to everyone in the guest; \
                            use --gateway-token-file"
                    .to_owned());
            }
            _ => return Err(format!("{name} is not an option; see --help")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        match Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())? {
            Asked::Serve(options) => Ok(*options),
            Asked::Help | Asked::Version => Err("neither".to_owned()),
        }
    }

    #[test]
    fn files_are_below_the_directory_unless_named() {
        let options = parse("--tls-key /k --fuse-dir /x --vsock-port off --listen=127.0.0.1:1").unwrap();
        assert_eq!(options.token_file, PathBuf::from("/x/auth-token"));
        assert_eq!(options.tls_key, PathBuf::from("/k"));
        assert_eq!((options.vsock_port, options.listen.map(|a| a.port())), (None, Some(1)));
    }

    #[test]
    fn tokens_are_not_taken_from_the_command_line() {
        let error = parse("--gateway-token very-secret").unwrap_err();
        assert!(error.contains("--gateway-token-file") && !error.contains("very-secret"), "{error}");
        assert!(parse("--listen nowhere").unwrap_err().contains("nowhere"));
        assert!(parse("--colour red").is_err() && parse("--vm-id").is_err());
    }
}
