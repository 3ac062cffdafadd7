//! The settings of the program: where they come from and what they mean together.

mod resolve;
mod sources;
mod table;
pub(crate) mod value;

pub use resolve::{Keys, LogFormat, ProviderChoice, Settings, SettingsError, State, TlsFiles};
pub use sources::{Origin, Sources};
pub use table::{SETTINGS, Setting, ValueKind};
