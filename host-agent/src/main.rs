//! The daemon `fuse-host-agent`: the HTTP contract of a host agent over the VMs of this machine.
#![forbid(unsafe_code)]

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::Parser;
use fuse_host_agent::{
    Config, DriverConfig,
    agent::HostAgent,
    http::{Api, Listener, ServeError, TOKEN_LEAST, Tls, router},
};
use secrecy::{ExposeSecret, SecretString};

/// Runs microVMs on this host for a control plane.
///
/// The token comes from a file or from the variable FC_AGENT_TOKEN, never from the command line, where everybody on the
/// host could read it.
#[derive(Debug, Parser)]
#[command(name = "fuse-host-agent", version = fuse_host_agent::VERSION)]
struct Options {
    /// The configuration, TOML. Without it: QEMU, a network inside the VMM, data below --data.
    #[arg(long, env = "FUSE_HOST_AGENT_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept; over that of the configuration.
    #[arg(long, env = "FUSE_HOST_DATA")]
    data: Option<PathBuf>,
    /// The address to listen on [default: 127.0.0.1 and the port FC_AGENT_PORT]. Others than loopback need TLS.
    #[arg(long, env = "FC_AGENT_LISTEN")]
    listen: Option<SocketAddr>,
    /// The port to listen on when no address is given.
    #[arg(long, env = "FC_AGENT_PORT", default_value_t = 8090)]
    port: u16,
    /// The name or address under which others reach published ports; over that of the configuration.
    #[arg(long, env = "PUBLIC_HOST")]
    public_host: Option<String>,
    /// The file of the token that callers must have.
    #[arg(long, env = "FC_AGENT_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The certificate chain, PEM.
    #[arg(long, env = "FC_AGENT_TLS_CERT")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, env = "FC_AGENT_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// Listens beyond this machine without TLS: whoever sees the network sees the token.
    #[arg(long)]
    insecure_listen: bool,
    /// Runs Firecracker as root without its jailer: a guest that breaks out is root.
    #[arg(long)]
    unjailed_root: bool,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = Options::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    match runtime.block_on(serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    tracing::error!("{why}");
    ExitCode::FAILURE
}

async fn serve(options: Options) -> Result<(), String> {
    let token = token(&options)?;
    let tls = match (&options.tls_cert, &options.tls_key) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(Tls::load(cert, key).map_err(|error| error.to_string())?),
        _ => return Err(ServeError::HalfTls.to_string()),
    };
    let listen = options.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], options.port)));
    let listener = Listener::bind(listen, tls, options.insecure_listen).await;
    let listener = listener.map_err(|error| error.to_string())?;
    let agent = HostAgent::open(config(&options)?).await.map_err(|error| error.to_string())?;
    let address = listener.address().map_err(|error| error.to_string())?;
    tracing::info!(
        %address,
        backend = agent.backend(),
        version = agent.vmm_version(),
        accelerator = agent.accelerator(),
        "listening"
    );
    listener.serve(router(Api::new(agent, token)), stopped()).await;
    tracing::info!("stopped; the VMs go on");
    Ok(())
}

/// Waits for SIGTERM or SIGINT.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

fn token(options: &Options) -> Result<SecretString, String> {
    let text = match &options.token_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
        None => std::env::var("FC_AGENT_TOKEN").unwrap_or_default(),
    };
    let token = SecretString::from(text.trim());
    if token.expose_secret().len() < TOKEN_LEAST {
        return Err(format!(
            "there is no token of at least {TOKEN_LEAST} characters: give --token-file FILE, or set FC_AGENT_TOKEN"
        ));
    }
    Ok(token)
}

fn config(options: &Options) -> Result<Config, String> {
    let mut config = match &options.config {
        None => Config::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            toml::from_str(&text)
                .map_err(|error| format!("{} is not a configuration: {error}", path.display()))?
        }
    };
    if let Some(data) = &options.data {
        config.data.clone_from(data);
    }
    if let Some(host) = options.public_host.as_ref().filter(|host| !host.is_empty()) {
        config.public_host.clone_from(host);
    }
    if let (true, DriverConfig::Firecracker { unjailed_root, .. }) =
        (options.unjailed_root, &mut config.driver)
    {
        *unjailed_root = true;
    }
    Ok(config)
}
