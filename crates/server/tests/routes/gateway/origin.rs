//! The gateway in front of another server.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rillpay_server::gateway::Upstream;
use tower_http::services::ServeDir;

use super::*;

/// An origin that serves the clip, and remembers the headers it was sent.
struct Origin {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Origin {
    async fn start() -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let seen_too = Arc::clone(&seen);
        let note = axum::middleware::from_fn(move |request: Request, next: axum::middleware::Next| {
            let path = request.uri().to_string();
            seen_too.lock().unwrap().push((path, request.headers().clone()));
            next.run(request)
        });
        let lake = ServeDir::new(lake().join("lake"));
        let routes = Router::new()
            .nest_service("/videos/lake", lake)
            .nest_service("/videos/ranges", ServeDir::new(fixtures().join("ranges")))
            .route("/videos/away.m4s", axum::routing::get(redirect))
            .route("/videos/endless.ts", axum::routing::get(endless))
            .route("/videos/chunked.ts", axum::routing::get(chunked))
            .route("/videos/squeezed.ts", axum::routing::get(squeezed))
            .route("/videos/cookie.ts", axum::routing::get(cookie))
            .route("/secret.txt", axum::routing::get(|| async { "secret" }))
            .layer(note);
        let address = listen(routes).await;
        Self { address, seen }
    }

    async fn gateway(&self, settings: Settings) -> Server {
        let base = format!("http://{}/videos/", self.address);
        let upstream = Upstream::new(&base, vec!["index.m3u8".into()]).unwrap();
        Server::start(Content::Upstream(upstream), settings).await
    }
}

async fn redirect() -> Response {
    (StatusCode::FOUND, [(header::LOCATION, "http://169.254.169.254/secret")]).into_response()
}

/// More than is ever held in memory, of unknown length.
async fn endless() -> Body {
    let chunk = Bytes::from(vec![7; 1 << 20]);
    Body::from_stream(futures_util::stream::iter((0..20).map(move |_| Ok::<_, std::io::Error>(chunk.clone()))))
}

/// A real segment of unknown length.
async fn chunked() -> Body {
    let bytes = std::fs::read(fixtures().join("ts/second-1.ts")).unwrap();
    let chunks: Vec<_> = bytes.chunks(1000).map(Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect();
    Body::from_stream(futures_util::stream::iter(chunks))
}

async fn squeezed() -> Response {
    ([(header::CONTENT_ENCODING, "gzip")], "x").into_response()
}

async fn cookie() -> Response {
    ([(header::SET_COOKIE, "a=b"), (header::CONNECTION, "keep-alive"), (header::SERVER, "o")], "x").into_response()
}

#[tokio::test]
async fn an_origins_segments_are_priced_like_files() {
    let origin = Origin::start().await;
    let server = origin.gateway(Settings::new(Unit::Second)).await;
    for path in ["/media/lake/index.m3u8", "/media/lake/init.mp4", "/media/lake/poster.jpg"] {
        assert_eq!(server.get_free(path).await.status, 200, "{path}");
    }
    let path = "/media/lake/second-20.m4s";
    assert_eq!(server.get_free(path).await.status, 402);
    for (token, price) in [(PAYS, 1000), (PAYS, 0), (SLOW, 1000)] {
        let answer = server.get(path, token).await;
        assert_eq!((answer.status, answer.counted()), (200, price));
        assert!(answer.body == std::fs::read(lake().join("lake/second-20.m4s")).unwrap());
        assert_eq!(answer.header("content-type"), "video/iso.segment");
    }
    let head = send(server.address, "HEAD", path, &[]).await;
    let length = std::fs::metadata(lake().join("lake/second-20.m4s")).unwrap().len();
    assert_eq!((head.status, head.header("content-length")), (200, length.to_string().as_str()));
}

#[tokio::test]
async fn an_origins_playlist_is_looked_for_when_it_was_not_asked_for() {
    let origin = Origin::start().await;
    let server = origin.gateway(Settings::new(Unit::Second)).await;
    let answer = server.get("/media/lake/second-21.m4s", PAYS).await;
    assert_eq!((answer.status, answer.counted()), (200, 1000), "as after a restart in mid-stream");
}

#[tokio::test]
async fn an_origins_listed_ranges_are_asked_for_as_ranges() {
    let origin = Origin::start().await;
    let server = origin.gateway(Settings::new(Unit::Second)).await;
    let path = "/media/ranges/index.m4s";
    let init = send(server.address, "GET", path, &[("Range", "bytes=0-1336")]).await;
    assert_eq!((init.status, init.body.len()), (206, 1337));
    let answer = server.range(path, "bytes=4060-5924").await;
    assert_eq!((answer.status, answer.counted(), answer.body.len()), (206, 1000, 1865));
    let odd = server.range(path, "bytes=4060-4061").await;
    assert_eq!((odd.status, odd.counted(), odd.body.len()), (200, 3000, 7821));
}

#[tokio::test]
async fn an_origin_learns_nothing_and_gives_nothing_but_content() {
    let origin = Origin::start().await;
    let server = origin.gateway(Settings::new(Unit::Second)).await;
    let headers = [
        ("Rillpay-Session", PAYS),
        ("Cookie", "wallet=1"),
        ("Authorization", "Bearer x"),
        ("Connection", "x-hop"),
        ("X-Hop", "1"),
    ];
    let path = format!("/media/cookie.ts?rillpay={PAYS}");
    let answer = send(server.address, "GET", &path, &headers).await;
    assert_eq!(answer.status, 200);
    assert_eq!((answer.header("set-cookie"), answer.header("server")), ("", ""));
    for (path, seen) in origin.seen.lock().unwrap().iter() {
        assert!(!path.contains(PAYS), "{path}");
        let mut names: Vec<_> = seen.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"]);
    }
}

#[tokio::test]
async fn an_origin_is_not_left_and_not_trusted() {
    let origin = Origin::start().await;
    let server = origin.gateway(Settings::new(Unit::Second)).await;
    for (path, status) in [
        ("/media/away.m4s", 502),
        ("/media/endless.ts", 502),
        ("/media/squeezed.ts", 502),
        ("/media/nothing.ts", 404),
        ("/media/../secret.txt", 404),
        ("/media/%2e%2e/secret.txt", 404),
        ("/media/..%2fsecret.txt", 404),
        ("/media/http://169.254.169.254/", 404),
    ] {
        assert_eq!(server.get(path, PAYS).await.status, status, "{path}");
    }
    let answer = server.get("/media/chunked.ts", PAYS).await;
    assert_eq!((answer.status, answer.counted(), answer.body.len()), (200, 1000, 4136));
}

#[tokio::test]
async fn bytes_of_unknown_length_are_counted_before_they_leave() {
    let origin = Origin::start().await;
    let server = origin.gateway(Settings::new(Unit::Byte)).await;
    assert_eq!(server.get("/media/chunked.ts", PAYS).await.counted(), 4136);
    assert_eq!(server.get("/media/endless.ts", PAYS).await.status, 502);
}

#[tokio::test]
async fn an_origin_that_is_gone_is_a_bad_gateway() {
    let upstream = Upstream::new("http://127.0.0.1:1", Vec::new()).unwrap();
    let server = Server::start(Content::Upstream(upstream), Settings::new(Unit::Second)).await;
    let answer = server.get("/media/a.ts", PAYS).await;
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["type"], "about:blank");
}

#[tokio::test]
async fn a_segment_is_measured_once_and_then_streamed() {
    let bodies = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&bodies);
    let origin = listen(Router::new().fallback(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        async { ([(header::ETAG, "\"v1\"")], std::fs::read(fixtures().join("ts/second-0.ts")).unwrap()) }
    }))
    .await;
    let upstream = Upstream::new(&format!("http://{origin}"), Vec::new()).unwrap();
    let server = Server::start(Content::Upstream(upstream), Settings::new(Unit::Second)).await;
    for _ in 0..3 {
        assert_eq!(server.get("/media/a.ts", PAYS).await.body.len(), 5264);
    }
    assert_eq!(bodies.load(Ordering::Relaxed), 3, "one request to the origin for each to us");
}
