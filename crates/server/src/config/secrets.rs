//! Content is sold to anybody: keys, payments and settings must not be among it.

use std::path::{Component, Path, PathBuf};

use super::{ConfigError, Source, bad};

const KEY: &str = "content.folder";

/// Refuses a content folder that holds `data_dir` or lies in it: the gateway would sell the payments and the keys.
pub(super) fn keep_apart(source: &Source, data_dir: &Path) -> Result<(), ConfigError> {
    let Source::Folder(folder) = source else { return Ok(()) };
    let (folder, data_dir) = (real(folder), real(data_dir));
    if data_dir.starts_with(&folder) {
        return bad(KEY, format!("holds `data_dir` ({}), so its files could be fetched", data_dir.display()));
    }
    if folder.starts_with(&data_dir) {
        return bad(KEY, format!("lies inside `data_dir` ({}); keep content elsewhere", data_dir.display()));
    }
    Ok(())
}

/// Refuses a content folder that holds one of these files, each given with its name in a sentence.
pub(super) fn keep_out(source: &Source, files: &[(&Path, &str)]) -> Result<(), ConfigError> {
    let Source::Folder(folder) = source else { return Ok(()) };
    let folder = real(folder);
    for (file, name) in files {
        // The place it is named at counts as well as the one that a link leads to.
        let named = file.file_name().map(|name| real(parent(file)).join(name));
        if real(file).starts_with(&folder) || named.is_some_and(|named| named.starts_with(&folder)) {
            return bad(KEY, format!("holds {name} ({}), which could be fetched", file.display()));
        }
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where a path really leads, links followed as far as it exists: `data_dir` is made at the first start only.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing =
        path.ancestors().find_map(|above| Some((above.canonicalize().ok()?, path.strip_prefix(above).ok()?)));
    let Some((mut real, rest)) = existing else { return path };
    for part in rest.components() {
        if part == Component::ParentDir {
            real.pop();
        } else {
            real.push(part);
        }
    }
    real
}
