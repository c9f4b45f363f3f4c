//! What a segment costs, whatever its playlist says.

use super::*;

/// A copy of the first three seconds of the clip with another playlist.
fn copy_with_playlist(playlist: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["init.mp4", "second-00.m4s", "second-01.m4s", "second-02.m4s"] {
        std::fs::copy(lake().join("lake").join(name), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("index.m3u8"), playlist).unwrap();
    folder
}

#[tokio::test]
async fn every_second_of_the_clip_costs_a_second() {
    let server = Server::folder(&lake()).await;
    for second in 0..90 {
        let answer = server.get(&format!("/media/lake/second-{second:02}.m4s"), PAYS).await;
        assert_eq!((answer.status, answer.counted()), (200, 1000), "second {second}");
    }
    assert_eq!(server.gate.total(), 90_000);
}

#[tokio::test]
async fn transport_streams_are_measured_without_a_playlist() {
    let folder_without = tempfile::tempdir().unwrap();
    for name in ["second-0.ts", "second-1.ts", "second-2.ts"] {
        std::fs::copy(fixtures().join("ts").join(name), folder_without.path().join(name)).unwrap();
    }
    let server = Server::folder(folder_without.path()).await;
    for second in 0..3 {
        let answer = server.get(&format!("/media/second-{second}.ts"), PAYS).await;
        assert_eq!((answer.status, answer.counted()), (200, 1000), "second {second}");
        assert_eq!(answer.header("content-type"), "video/mp2t");
    }
}

#[tokio::test]
async fn a_playlist_that_lies_gains_nothing() {
    // Shorter than the media: the media counts. Longer: what was announced counts.
    let lies = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:0.001,\nsecond-00.m4s\n\
        #EXTINF:0,\nsecond-01.m4s\n#EXTINF:1.5,\nsecond-02.m4s\n#EXT-X-ENDLIST\n";
    let root = copy_with_playlist(lies);
    let server = Server::folder(root.path()).await;
    for (name, price) in [("second-00", 1000), ("second-01", 1000), ("second-02", 1500)] {
        assert_eq!(server.get(&format!("/media/{name}.m4s"), PAYS).await.counted(), price, "{name}");
    }
}

#[tokio::test]
async fn a_segment_listed_as_something_free_is_still_priced() {
    let lies = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MAP:URI=\"second-00.m4s\"\n#EXTINF:1,\nsecond-01.m4s\n";
    let root = copy_with_playlist(lies);
    // A segment under the name of a picture, of a playlist, and as a picture that is listed as a segment.
    std::fs::copy(root.path().join("second-02.m4s"), root.path().join("poster.jpg")).unwrap();
    std::fs::copy(root.path().join("second-02.m4s"), root.path().join("other.m3u8")).unwrap();
    std::fs::copy(lake().join("lake/poster.jpg"), root.path().join("tile.jpg")).unwrap();
    let tiles = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ntile.jpg\n";
    std::fs::write(root.path().join("tiles.m3u8"), tiles).unwrap();
    let server = Server::folder(root.path()).await;
    for name in ["second-00.m4s", "poster.jpg", "other.m3u8", "tile.jpg"] {
        assert_eq!(server.get_free(&format!("/media/{name}")).await.status, 402, "{name}");
    }
    assert_eq!(server.get_free("/media/init.mp4").await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_measured_is_estimated_and_never_free() {
    let root = tempfile::tempdir().unwrap();
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:0.1,\nnoise.ts\n#EXTINF:0.1,\nlarge.ts\n";
    std::fs::write(root.path().join("index.m3u8"), playlist).unwrap();
    std::fs::write(root.path().join("noise.ts"), [7; 5000]).unwrap();
    std::fs::write(root.path().join("large.ts"), vec![7; 5_000_001]).unwrap();
    std::fs::write(root.path().join("unlisted.ts"), [7; 5000]).unwrap();
    std::fs::write(root.path().join("empty.ts"), []).unwrap();
    let server = Server::folder(root.path()).await;
    let mut prices = Vec::new();
    for name in ["noise.ts", "large.ts", "unlisted.ts", "empty.ts"] {
        prices.push(server.get(&format!("/media/{name}"), PAYS).await.counted());
    }
    // The target duration; the bytes at 500,000 a second; the shortest that an unknown segment is taken for.
    assert_eq!(prices, [4000, 10_001, 6000, 6000]);
}

#[tokio::test]
async fn a_fragment_without_its_initialisation_is_estimated() {
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(lake().join("lake/second-00.m4s"), root.path().join("a.m4s")).unwrap();
    let server = Server::folder(root.path()).await;
    assert_eq!(server.get("/media/a.m4s", PAYS).await.counted(), 6000);
}

#[tokio::test]
async fn a_replaced_file_is_measured_and_paid_anew() {
    let root = copy_with_playlist(&std::fs::read_to_string(lake().join("lake/index.m3u8")).unwrap());
    let server = Server::folder(root.path()).await;
    assert_eq!(server.get("/media/second-00.m4s", PAYS).await.counted(), 1000);
    let mut two = std::fs::read(root.path().join("second-00.m4s")).unwrap();
    two.extend(std::fs::read(root.path().join("second-01.m4s")).unwrap());
    std::fs::write(root.path().join("second-00.m4s"), two).unwrap();
    let answer = server.get("/media/second-00.m4s", PAYS).await;
    assert!((2000..2050).contains(&answer.counted()), "{}", answer.counted());
}

#[tokio::test]
async fn a_range_costs_the_segment_once() {
    let server = Server::folder(&lake()).await;
    let path = "/media/lake/second-10.m4s";
    let whole = std::fs::read(lake().join("lake/second-10.m4s")).unwrap();
    let first = server.range(path, "bytes=0-1").await;
    assert_eq!((first.status, first.counted()), (206, 1000));
    assert!(first.body == whole[..2]);
    assert_eq!(first.header("content-range"), format!("bytes 0-1/{}", whole.len()));
    let rest = server.range(path, "bytes=2-").await;
    assert_eq!((rest.status, rest.counted()), (206, 0));
    assert!(rest.body == whole[2..]);
    assert_eq!(server.range(path, "bytes=99999999-").await.status, 416);
    let several = server.range(path, "bytes=0-1,4-5").await;
    assert_eq!((several.status, several.body.len()), (200, whole.len()), "several ranges are not taken apart");
}

#[tokio::test]
async fn ranges_that_a_playlist_lists_are_segments_of_their_own() {
    let server = Server::folder(&fixtures()).await;
    let path = "/media/ranges/index.m4s";
    let init = send(server.address, "GET", path, &[("Range", "bytes=0-1336")]).await;
    assert_eq!((init.status, init.body.len()), (206, 1337), "the initialisation is free");
    for range in ["bytes=1337-4059", "bytes=4060-5924", "bytes=5925-7820"] {
        let answer = server.range(path, range).await;
        assert_eq!((answer.status, answer.counted()), (206, 1000), "{range}");
    }
    // Any other range, be it one byte less, costs what the file costs.
    let odd = server.range(path, "bytes=1337-4058").await;
    assert_eq!((odd.status, odd.counted()), (206, 3000));
    let near_init = send(server.address, "GET", path, &[("Range", "bytes=0-1337")]).await;
    assert_eq!(near_init.status, 402);
}

#[tokio::test]
async fn bytes_and_requests_can_be_priced_too() {
    let server = Server::start(folder(&lake()), Settings::new(Unit::Byte)).await;
    let path = "/media/lake/second-11.m4s";
    let length = std::fs::metadata(lake().join("lake/second-11.m4s")).unwrap().len();
    assert_eq!(server.get(path, PAYS).await.counted(), length);
    assert_eq!(server.range(path, "bytes=10-109").await.counted(), 100);
    assert_eq!(server.range(path, "bytes=10-109").await.counted(), 0);
    assert_eq!(server.range(path, "bytes=110-").await.counted(), length - 110);

    let server = Server::start(folder(&lake()), Settings::new(Unit::Request)).await;
    assert_eq!(server.get(path, PAYS).await.counted(), 1);
    assert_eq!(server.range(path, "bytes=10-109").await.counted(), 1);
}
