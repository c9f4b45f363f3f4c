//! Paths that try to be something else.

use super::*;

/// A media root with a secret beside it, and links in it.
fn root() -> (tempfile::TempDir, PathBuf) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("media");
    std::fs::create_dir_all(root.join("lake/sub")).unwrap();
    std::fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    std::fs::write(root.join(".env"), "secret").unwrap();
    std::fs::create_dir(root.join(".git")).unwrap();
    std::fs::write(root.join(".git/config"), "secret").unwrap();
    std::fs::copy(lake().join("lake/init.mp4"), root.join("lake/init.mp4")).unwrap();
    std::fs::copy(lake().join("lake/second-00.m4s"), root.join("lake/second-00.m4s")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(outside.path().join("secret.txt"), root.join("leak.txt")).unwrap();
        symlink(outside.path(), root.join("out")).unwrap();
        symlink(root.join(".env"), root.join("env.txt")).unwrap();
        symlink(root.join("lake/second-00.m4s"), root.join("free.m3u8")).unwrap();
    }
    (outside, root)
}

#[tokio::test]
async fn nothing_outside_the_root_and_nothing_hidden() {
    let (_outside, root) = root();
    let server = Server::folder(&root).await;
    for path in [
        "/media/../secret.txt",
        "/media/lake/../../secret.txt",
        "/media/%2e%2e/secret.txt",
        "/media/%2E%2E%2Fsecret.txt",
        "/media/..%2fsecret.txt",
        "/media/..%5csecret.txt",
        "/media/..\\secret.txt",
        "/media/%252e%252e/secret.txt",
        "/media/..%252fsecret.txt",
        "/media/%c0%ae%c0%ae/secret.txt",
        "/media//etc/passwd",
        "/media/%2fetc/passwd",
        "/media//secret.txt",
        "/media/lake/./init.mp4",
        "/media/lake//init.mp4",
        "/media/leak.txt",
        "/media/env.txt",
        "/media/out/secret.txt",
        "/media/.env",
        "/media/%2eenv",
        "/media/.git/config",
        "/media/lake/init.mp4%00.jpg",
        "/media/lake/init.mp4/",
        "/media/lake/init.mp4/x",
        "/media/lake/init.mp4.",
        "/media/lake/init.mp4%20",
        "/media/lake",
        "/media/lake/",
        "/media/lake/sub",
        "/media/",
        "/media",
    ] {
        for token in [PAYS, STRANGER] {
            let answer = server.get(path, token).await;
            assert_eq!(answer.status, 404, "{path}");
            assert!(!answer.body.windows(6).any(|w| w == b"secret"), "{path}");
        }
    }
    assert_eq!(server.gate.total(), 0);
}

#[tokio::test]
async fn no_spelling_makes_a_segment_free() {
    let (_outside, root) = root();
    let server = Server::folder(&root).await;
    for path in [
        "/media/lake/second-00.m4s",
        "/media/lake/%73econd-00.m4s",
        "/media/%6c%61%6b%65/second-00%2Em4s",
        "/media/lake/second-00.m4s?x=.m3u8",
        "/media/lake/second-00.m4s?rillpay=",
        "/media/lake/second-00.m4s;.m3u8",
        "/media/lake/second-00.M4S",
        "/media/lake/SECOND-00.m4s",
        "/media/free.m3u8",
        "/media/lake/%69nit.mp4/../second-00.m4s",
    ] {
        let answer = server.get_free(path).await;
        assert!([402, 404].contains(&answer.status), "{path}: {}", answer.status);
    }
    // Whatever the spelling, it is one segment, paid for once.
    assert_eq!(server.get("/media/lake/second-00.m4s", PAYS).await.counted(), 6000);
    assert_eq!(server.get("/media/%6cake/second%2D00.m4s", PAYS).await.counted(), 0);
    assert_eq!(server.get("/media/free.m3u8", PAYS).await.counted(), 0);
}
