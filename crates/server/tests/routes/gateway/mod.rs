//! The gateway over real HTTP, with real media, on both kinds of content: a folder and an origin.

mod gate;
mod origin;
mod prices;
mod tricks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use rillpay_channel::tariff::Unit;
use rillpay_server::gateway::{self, Content, Folder, Settings};

use crate::http::{Answer, listen, send};

use gate::{PAYS, RecordingGate, SILENT, SLOW, STALE, STRANGER};

/// The demo clip: 90 fragmented MP4 segments of a second each.
fn lake() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../www/media")
}

/// The small media made for these tests.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A gateway under `/media`, and its gate.
struct Server {
    address: SocketAddr,
    gate: Arc<RecordingGate>,
}

impl Server {
    async fn start(content: Content, settings: Settings) -> Self {
        let gate = RecordingGate::new();
        let router = gateway::router(Arc::clone(&gate), content, settings);
        let address = listen(Router::new().nest("/media", router)).await;
        Self { address, gate }
    }

    async fn folder(root: &Path) -> Self {
        Self::start(folder(root), Settings::new(Unit::Second)).await
    }

    async fn get(&self, path: &str, token: &str) -> Answer {
        send(self.address, "GET", path, &[("Rillpay-Session", token)]).await
    }

    async fn get_free(&self, path: &str) -> Answer {
        send(self.address, "GET", path, &[]).await
    }

    async fn range(&self, path: &str, range: &str) -> Answer {
        send(self.address, "GET", path, &[("Rillpay-Session", PAYS), ("Range", range)]).await
    }
}

fn folder(root: &Path) -> Content {
    Content::Folder(Folder::new(root).unwrap())
}

#[tokio::test]
async fn a_paid_segment_arrives_whole_with_its_headers() {
    let server = Server::folder(&lake()).await;
    let answer = server.get("/media/lake/second-00.m4s", PAYS).await;
    assert_eq!((answer.status, answer.counted()), (200, 1000));
    assert!(answer.body == std::fs::read(lake().join("lake/second-00.m4s")).unwrap());
    assert_eq!(answer.header("content-type"), "video/iso.segment");
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(!answer.header("etag").is_empty() && !answer.header("last-modified").is_empty());
}

#[tokio::test]
async fn playlists_initialisation_and_posters_are_free() {
    let server = Server::folder(&lake()).await;
    for (path, media_type) in [
        ("/media/lake/index.m3u8", "application/vnd.apple.mpegurl"),
        ("/media/lake/init.mp4", "video/mp4"),
        ("/media/lake/poster.jpg", "image/jpeg"),
    ] {
        let answer = server.get_free(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, media_type), "{path}");
        assert_eq!(answer.header("rillpay-quantity"), "", "{path}");
        let etag = answer.header("etag");
        let again = send(server.address, "GET", path, &[("If-None-Match", etag)]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    assert_eq!(server.gate.total(), 0);
}

#[tokio::test]
async fn the_operator_may_name_more_that_is_free() {
    let settings =
        Settings { free: vec!["*.ts".parse().unwrap(), "lake/".parse().unwrap()], ..Settings::new(Unit::Second) };
    let server = Server::start(folder(&fixtures()), settings).await;
    assert_eq!(server.get_free("/media/ts/second-0.ts").await.status, 200);
    assert_eq!(server.get_free("/media/ranges/index.m4s").await.status, 402);
}

#[tokio::test]
async fn no_payment_no_segment() {
    let mut settings = Settings::new(Unit::Second);
    settings.wait = std::time::Duration::from_millis(150);
    let server = Server::start(folder(&lake()), settings).await;
    let path = "/media/lake/second-01.m4s";
    let cases = [
        (server.get_free(path).await, 402, "not_paid"),
        (server.get(path, "nonsense").await, 402, "not_paid"),
        (server.get(path, &PAYS[..62]).await, 402, "not_paid"),
        (server.get(path, SILENT).await, 402, "not_paid"),
        (server.get(path, STRANGER).await, 402, "unknown_channel"),
        (server.get(path, STALE).await, 409, "superseded"),
    ];
    for (answer, status, code) in cases {
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (status, &code.into()), "{problem}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(problem["type"], format!("/.well-known/rillpay#{code}"));
        assert_eq!(problem["terms"], "/.well-known/rillpay");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        if status == 402 {
            assert_eq!(answer.header("link"), "</.well-known/rillpay>; rel=\"payment\"");
        }
    }
    assert_eq!(server.gate.total(), 0);
}

#[tokio::test]
async fn a_request_waits_for_its_payment_and_no_longer() {
    let mut settings = Settings::new(Unit::Second);
    settings.wait = std::time::Duration::from_millis(600);
    let server = Server::start(folder(&lake()), settings).await;
    assert_eq!(server.get("/media/lake/second-02.m4s", SLOW).await.status, 200);
    let begun = std::time::Instant::now();
    assert_eq!(server.get("/media/lake/second-02.m4s", SILENT).await.status, 402);
    let waited = begun.elapsed().as_millis();
    assert!((600..3_000).contains(&waited), "{waited} ms");
}

#[tokio::test]
async fn the_query_carries_the_token_where_headers_cannot() {
    let server = Server::folder(&lake()).await;
    let segment = server.get_free(&format!("/media/lake/second-03.m4s?rillpay={PAYS}")).await;
    assert_eq!((segment.status, segment.counted()), (200, 1000));
    let playlist = server.get_free(&format!("/media/lake/index.m3u8?rillpay={PAYS}")).await;
    let text = String::from_utf8(playlist.body.clone()).unwrap();
    assert!(text.contains(&format!("\nsecond-03.m4s?rillpay={PAYS}\n")), "{text}");
    assert!(text.contains(&format!("URI=\"init.mp4?rillpay={PAYS}\"")));
    assert_eq!(playlist.header("cache-control"), "private, no-store");
    let plain = server.get_free("/media/lake/index.m3u8?rillpay=x%22").await;
    assert!(plain.body == std::fs::read(lake().join("lake/index.m3u8")).unwrap());
}

#[tokio::test]
async fn what_is_paid_can_be_fetched_again_a_few_times() {
    let mut settings = Settings::new(Unit::Second);
    settings.grace = std::time::Duration::from_secs(1);
    let server = Server::start(folder(&lake()), settings).await;
    let path = "/media/lake/second-04.m4s";
    for expected in [1000, 0, 0, 0, 1000] {
        assert_eq!(server.get(path, PAYS).await.counted(), expected);
    }
    assert_eq!(server.get(path, SLOW).await.counted(), 1000, "each session pays for itself");
    assert_eq!(server.get("/media/lake/second-05.m4s", PAYS).await.counted(), 1000, "each segment, too");
    assert_eq!(server.get(path, PAYS).await.counted(), 0);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(server.get(path, PAYS).await.counted(), 1000, "and after a while again");
}

#[tokio::test]
async fn two_requests_at_once_and_one_that_hangs_up_are_charged_once() {
    let server = Server::folder(&lake()).await;
    let path = "/media/lake/second-06.m4s";
    let (a, b) = tokio::join!(server.get(path, SLOW), server.get(path, SLOW));
    assert_eq!(a.counted() + b.counted(), 1000);

    let path = "/media/lake/second-07.m4s";
    let hung_up = tokio::time::timeout(std::time::Duration::from_millis(100), server.get(path, SLOW)).await;
    assert!(hung_up.is_err(), "the payment takes longer");
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(server.get(path, SLOW).await.counted(), 0, "it was paid for the first time");
    assert_eq!(*server.gate.counted.lock().unwrap(), [1000, 1000]);
}

#[tokio::test]
async fn head_is_free_and_says_the_length() {
    let server = Server::folder(&lake()).await;
    let answer = send(server.address, "HEAD", "/media/lake/second-08.m4s", &[]).await;
    let length = std::fs::metadata(lake().join("lake/second-08.m4s")).unwrap().len();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), length.to_string());
    assert_eq!(server.gate.total(), 0);
    let post = send(server.address, "POST", "/media/lake/second-08.m4s", &[]).await;
    assert_eq!((post.status, post.header("allow")), (405, "GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn pages_elsewhere_may_ask_with_a_session() {
    let server = Server::folder(&lake()).await;
    let asks = [
        ("Origin", "https://guest.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "rillpay-session"),
    ];
    let answer = send(server.address, "OPTIONS", "/media/lake/second-08.m4s", &asks).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"));
    assert!(answer.header("access-control-allow-headers").contains("rillpay-session"));

    let settings =
        Settings { origins: Some(vec!["https://home.example".parse().unwrap()]), ..Settings::new(Unit::Second) };
    let server = Server::start(folder(&lake()), settings).await;
    for (origin, allowed) in [("https://home.example", "https://home.example"), ("https://guest.example", "")] {
        let answer = send(server.address, "GET", "/media/lake/index.m3u8", &[("Origin", origin)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
    }
}
