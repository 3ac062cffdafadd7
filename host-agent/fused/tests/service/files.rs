//! upload and download.

use std::{fs, os::unix::fs::PermissionsExt};

use fuse_guest_protocol::{
    ErrorCode,
    verb::{Download, Upload},
};

use crate::guest::{Fused, until};

fn upload(path: impl Into<String>, mode: u32) -> Upload {
    Upload { path: path.into(), mode, size: None }
}

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn files_arrive_whole_with_their_mode() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let content: Vec<u8> = (0..2_000_000_u32).map(|i| (i / 5) as u8).collect();
    let path = fused.path("new/deep/file");
    let facts = client.upload_bytes(&upload(&path, 0o750), &content).await.unwrap();
    assert_eq!((facts.bytes, facts.mode), (2_000_000, 0o750));
    assert!(fs::read(&path).unwrap() == content);
    assert_eq!(mode(&path), 0o750);

    client.upload_bytes(&upload(&path, 0o600), b"short").await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"short");
    assert_eq!(fs::read_dir(fused.path("new/deep")).unwrap().count(), 1, "nothing else is left there");
}

#[tokio::test]
async fn files_of_the_environment_are_private_whatever_is_asked() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let path = fused.file("tls/key.pem");
    client.upload_bytes(&upload(path.to_str().unwrap(), 0o777), b"key").await.unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(fused.file("tls")), 0o700);
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_the_old_file() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let path = fused.path("file");
    fs::write(&path, "old").unwrap();
    let stream = client.open(&upload(&path, 0o644)).await.unwrap();
    stream.sender.send(b"half of the new").await.unwrap();
    until("the temporary file is there", async || fs::read_dir(fused.path("")).unwrap().count() > 3).await;
    drop(stream);
    until("it is gone", async || fs::read_dir(fused.path("")).unwrap().count() == 3).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");

    let announced = Upload { size: Some(10), ..upload(&path, 0o644) };
    let error = client.upload(&announced, &mut &b"only"[..]).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Invalid));
    let error = client.upload(&announced, &mut &b"more than the ten"[..]).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Invalid));
    let huge = Upload { size: Some(u64::MAX / 2), ..upload(&path, 0o644) };
    assert_eq!(client.upload(&huge, &mut &b""[..]).await.unwrap_err().code(), Some(ErrorCode::Exhausted));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
}

#[tokio::test]
async fn paths_that_are_no_place_for_a_file_are_refused() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let below = fused.path("a/../b");
    for path in ["relative", "/", "", "/tmp/", below.as_str(), "/proc"] {
        let error = client.upload_bytes(&upload(path, 0o644), b"x").await.unwrap_err();
        assert!(matches!(error.code(), Some(ErrorCode::Refused | ErrorCode::NotFound)), "{path:?}: {error}");
    }
    let device = Download { path: "/dev/zero".into(), offset: 0, length: None };
    let error = client.download(&device, &mut Vec::new()).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Refused), "{error}");
}

#[tokio::test]
async fn downloads_have_a_beginning_and_a_length() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let path = fused.path("file");
    let content: Vec<u8> = (0..700_000_u32).map(|i| (i / 9) as u8).collect();
    fs::write(&path, &content).unwrap();
    let mut all = Vec::new();
    let whole = Download { path: path.clone(), offset: 0, length: None };
    let facts = client.download(&whole, &mut all).await.unwrap();
    assert!(all == content);
    assert_eq!((facts.bytes, facts.size), (700_000, 700_000));
    let mut part = Vec::new();
    let some = Download { path, offset: 100_000, length: Some(50_000) };
    assert_eq!(client.download(&some, &mut part).await.unwrap().bytes, 50_000);
    assert!(part == content[100_000..150_000]);
    let missing = Download { path: fused.path("none"), offset: 0, length: None };
    assert_eq!(client.download(&missing, &mut part).await.unwrap_err().code(), Some(ErrorCode::NotFound));
}
