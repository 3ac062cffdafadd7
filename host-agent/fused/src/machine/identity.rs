//! Who the machine is: host name and machine id.

use std::{fs, io, path::Path};

/// The longest host name of Linux.
const NAME_BYTES: usize = 64;

/// Gives the machine a name, made of what host names may have.
pub(crate) fn set_name(name: &str) -> io::Result<()> {
    let name = host_name(name);
    rustix::system::sethostname(name.as_bytes())?;
    replace(Path::new("/etc/hostname"), &format!("{name}\n"))
}

/// Gives a machine that boots the name of its VM, and a machine id where it has none or where the file system is that of
/// another VM.
pub(crate) fn settle(vm_id: Option<&str>) -> io::Result<()> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let is_another = vm_id.is_some_and(|vm_id| host_name(vm_id) != read("/etc/hostname"));
    let is_new = is_another || read("/etc/machine-id").is_empty();
    let made = if is_new { new_machine_id().map(drop) } else { Ok(()) };
    // A file system that cannot be written keeps no name, and its machine has one all the same.
    vm_id.map_or(Ok(()), set_name).and(made)
}

/// The VM that this machine is now, which booted as `vm_id`: a clone was given another name since.
pub(crate) fn now(vm_id: String) -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name == host_name(&vm_id) { vm_id } else { name }
}

/// Letters, digits and dashes of `name`, in small letters; `fuse` when there are none.
fn host_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(safe).take(NAME_BYTES).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "fuse".to_owned() } else { name.to_owned() }
}

/// Gives the machine a new id; the id.
pub(crate) fn new_machine_id() -> io::Result<String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    // A random UUID, as systemd makes them.
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let id = hex::encode(random);
    replace(Path::new("/etc/machine-id"), &format!("{id}\n"))?;
    let bus = Path::new("/var/lib/dbus/machine-id");
    if bus.is_file() && !bus.is_symlink() {
        replace(bus, &format!("{id}\n"))?;
    }
    Ok(id)
}

/// Replaces a small file as a whole.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_what_host_names_may_have() {
        assert_eq!(host_name("fuse-Task_1.x"), "fuse-task-1-x");
        assert_eq!(host_name("--"), "fuse");
        assert_eq!(host_name(&"a".repeat(200)).len(), NAME_BYTES);
    }
}
