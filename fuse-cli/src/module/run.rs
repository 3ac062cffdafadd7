//! `fuse module run`: an application on this machine, with real time.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use fuse_edge::{Application, EventId};

use super::application::ApplicationFile;
use super::camera;
use crate::outcome::{EXIT_CODES, Failure, Outcome, Verdict};
use crate::output::print;

mod clock;
mod drive;
mod progress;
mod report;
mod sink;
mod temperature;

const EXAMPLES: &str = "\
Examples:
  fuse module run app_config.json --duration 10s
  fuse module run app_config.json --camera frames/ --frame-size 640x480 --frame-event CAMERA_FRAME_READY
  fuse module run app_config.json --camera frame.png --frames 20 --frame-interval 50ms --sink downlink=out/
  fuse module run app_config.json --duration 2s --events 3@100,WAKE@500 --json

Time is real. The run ends after --frames or --duration, whichever comes first; with --camera alone, when each \
image was shown once; else with Ctrl-C, or when no module runs any more. Ctrl-C ends it in order, prints the table \
all the same and does not change the exit code; a second Ctrl-C ends it at once.

A host group that the application declares (custom_groups) is stood in for if its functions take numbers and \
`in` buffers: they take everything, and answer how many bytes that was. With --sink GROUP=DIR each call leaves a \
file with its buffers there, and a line in calls.jsonl. Groups that hand data to modules cannot be stood in for.

Step times are upper bounds: a quantile is right to a factor of two, the maximum is exact.";

/// Run an application on this machine and show what its modules did
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct Args {
    /// The configuration, or a packed application
    #[arg(value_name = "APP_CONFIG")]
    config: PathBuf,
    #[command(flatten)]
    camera: camera::Args,
    /// Time from one frame to the next
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = parse_time)]
    frame_interval: Duration,
    /// Post this event (name or id) whenever a frame is there
    #[arg(long, value_name = "EVENT", requires = "camera")]
    frame_event: Option<String>,
    /// End after this many frames; images are shown again from the first when there are fewer
    #[arg(long, value_name = "N", requires = "camera", value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// End after this long, such as 500ms, 10s, 2min
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    duration: Option<Duration>,
    /// Post an event (name or id) at a time in milliseconds; may be given again, or as a list with commas
    #[arg(long, value_name = "EVENT@MS", value_delimiter = ',', value_parser = parse_event)]
    events: Vec<(String, u64)>,
    /// File that temp_get_reading reads: degrees Celsius with a decimal point, or millidegrees without, as in
    /// /sys/class/thermal [default: the first thermal zone of this machine]
    #[arg(long, value_name = "FILE")]
    temperature: Option<PathBuf>,
    /// Keep what a host group is given in a folder; may be given again
    #[arg(long, value_name = "GROUP=DIR", value_parser = parse_sink)]
    sink: Vec<(String, PathBuf)>,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("it must be longer than 0".into()),
        Err(e) => Err(format!("{e}; write it as 500ms, 10s or 2min")),
    }
}

fn parse_event(text: &str) -> Result<(String, u64), String> {
    let parts = text.rsplit_once('@').and_then(|(event, ms)| Some((event.to_owned(), ms.parse().ok()?)));
    parts.filter(|(event, _)| !event.is_empty()).ok_or_else(|| "write it as EVENT@MS, such as 3@100".into())
}

fn parse_sink(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((group, dir)) if !group.is_empty() && !dir.is_empty() => Ok((group.into(), dir.into())),
        _ => Err("write it as GROUP=DIR, such as downlink=out/".into()),
    }
}

/// What happens at a time of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Happening {
    Post(EventId),
    /// The next frame is there; its event is posted, if it has one.
    Frame(Option<EventId>),
}

/// The event of this name or number.
fn event(application: &Application, text: &str) -> Outcome<EventId> {
    let number = || text.parse().ok().and_then(|id| EventId::new(id).ok());
    application.event(text).or_else(number).ok_or_else(|| {
        let names: Vec<&str> = application.events.iter().map(|(name, _)| name.as_str()).collect();
        Failure::Usage(format!(
            "`{text}` is no event: give an id from 0 to 31, or one of: {}",
            names.join(", ")
        ))
    })
}

pub(super) fn run(args: &Args, json: bool) -> Outcome {
    let file = ApplicationFile::open(&args.config)?;
    let mut plan = drive::Plan {
        frames: args.camera.frames()?,
        frame_interval: args.frame_interval,
        frame_event: args.frame_event.as_deref().map(|e| event(&file.app.application, e)).transpose()?,
        frames_max: args.frames,
        duration: args.duration,
        posts: Vec::new(),
        temperature: args.temperature.clone(),
        sinks: args.sink.clone(),
    };
    for (name, ms) in &args.events {
        plan.posts.push((Duration::from_millis(*ms), event(&file.app.application, name)?));
    }
    plan.posts.sort_by_key(|(at, _)| *at);
    let interrupted = interrupts()?;
    let mut run = drive::Run::new(&file, plan, json)?;
    let ended = run.drive(&interrupted)?;
    let report = run.finish(ended, &args.config);
    print(&report, json);
    report.sink_failure()?;
    Ok(if report.has_failures() { Verdict::Problems } else { Verdict::Fine })
}

/// Gives a message at the first Ctrl-C or SIGTERM; the second ends the program.
fn interrupts() -> Outcome<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    let mut asked = false;
    let handler = move || {
        if asked {
            std::process::exit(130);
        }
        asked = true;
        // The run may have ended already.
        let _ = sender.send(());
    };
    ctrlc::set_handler(handler).map_err(|e| Failure::Usage(format!("cannot listen for Ctrl-C: {e}")))?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_or_numbered() {
        let application =
            Application { events: vec![("WAKE".into(), EventId::new(7).unwrap())], ..Application::default() };
        assert_eq!(event(&application, "WAKE").unwrap().get(), 7);
        assert_eq!(event(&application, "31").unwrap().get(), 31);
        assert!(event(&application, "32").unwrap_err().to_string().contains("WAKE"));
        assert!(event(&application, "wake").is_err());
    }

    #[test]
    fn arguments_have_one_form() {
        assert_eq!(parse_event("A@B@10"), Ok(("A@B".into(), 10)));
        assert!(parse_event("3").is_err() && parse_event("@5").is_err() && parse_event("3@x").is_err());
        assert_eq!(parse_sink("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(parse_sink("a=").is_err() && parse_sink("=b").is_err() && parse_sink("a").is_err());
        assert_eq!(parse_time("1500ms"), Ok(Duration::from_millis(1500)));
        assert!(parse_time("0s").is_err() && parse_time("5").is_err());
    }
}
