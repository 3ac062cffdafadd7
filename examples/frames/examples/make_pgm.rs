//! Decodes `hubble_deep_field.jpg` to grey once, as `hubble_deep_field.pgm` beside it.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let grey = image::open(folder.join("hubble_deep_field.jpg"))?.to_luma8();
    let mut file = format!("P5 {} {} 255\n", grey.width(), grey.height()).into_bytes();
    file.extend_from_slice(grey.as_raw());
    let to = folder.join("hubble_deep_field.pgm");
    std::fs::write(&to, file)?;
    println!("{}: {} x {}", to.display(), grey.width(), grey.height());
    Ok(())
}
