//! A user's directory of compiled scripts (databases §14.2).
//!
//! Delivery runs what the link `defaultbc` names, and compiles the script anew if that is missing
//! or older than the table of scripts says. So nothing is compiled here: what may be outdated is
//! removed, and the link may lead nowhere for a while.

use std::path::Path;

use super::script::ScriptName;
use super::table::ScriptChanges;
use crate::spool::SpoolError;
use crate::spool::disk::Disk;

const LINK: &str = "defaultbc";

/// Makes the directory follow the table: compiled scripts that are outdated go, the link names
/// the active script or is gone. The directory is made if need be. On disk when this returns.
///
/// # Errors
/// If something cannot be changed; the same again can be tried.
pub fn follow(disk: &Disk, directory: &Path, changes: &ScriptChanges) -> Result<(), SpoolError> {
    disk.create_dirs(directory)?;
    for name in &changes.outdated {
        disk.unlink(&directory.join(name.byte_code_file()))?;
    }
    set_active(disk, directory, changes.active.as_ref())?;
    Ok(disk.sync_dir(directory)?)
}

fn set_active(
    disk: &Disk,
    directory: &Path,
    active: Option<&ScriptName>,
) -> Result<(), SpoolError> {
    let link = directory.join(LINK);
    let Some(target) = active.map(ScriptName::byte_code_file) else {
        disk.unlink(&link)?;
        return Ok(());
    };
    if disk.link_target(&link)?.as_deref() == Some(Path::new(&target)) {
        return Ok(());
    }
    let new = directory.join(format!("{LINK}.NEW"));
    disk.unlink(&new)?;
    disk.symbolic_link(Path::new(&target), &new)?;
    Ok(disk.rename(&new, &link)?)
}

/// Removes everything in the directory and the directory itself, as when the user is removed. On
/// disk when this returns.
///
/// # Errors
/// If something cannot be removed; the same again can be tried.
pub fn remove(disk: &Disk, directory: &Path) -> Result<(), SpoolError> {
    for name in disk.read_dir(directory)?.unwrap_or_default() {
        disk.unlink(&directory.join(name))?;
    }
    if disk.remove_dir(directory)?
        && let Some(parent) = directory.parent()
    {
        disk.sync_dir(parent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::{Recorder, Survival};

    fn changes(outdated: &[&str], active: Option<&str>) -> ScriptChanges {
        let name = |text: &&str| ScriptName::parse(text).unwrap();
        ScriptChanges {
            outdated: outdated.iter().map(name).collect(),
            active: active.as_ref().map(name),
        }
    }

    fn names(directory: &Path) -> Vec<String> {
        let names = Disk::default().read_dir(directory).unwrap().unwrap();
        names
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_link_follows_the_active_script() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("uuid/a/b/ab");
        let disk = Disk::default();
        let link = || disk.link_target(&directory.join(LINK)).unwrap();
        follow(&disk, &directory, &changes(&["a"], Some("a"))).unwrap();
        assert_eq!(link().unwrap(), Path::new("a.bc"));
        std::fs::write(directory.join("a.bc"), b"old").unwrap();
        std::fs::write(directory.join("b.bc"), b"current").unwrap();
        std::os::unix::fs::symlink("x", directory.join("defaultbc.NEW")).unwrap();
        follow(&disk, &directory, &changes(&["a"], Some("b"))).unwrap();
        assert_eq!(link().unwrap(), Path::new("b.bc"));
        assert_eq!(names(&directory), ["b.bc", "defaultbc"]);
        follow(&disk, &directory, &changes(&[], None)).unwrap();
        assert_eq!(names(&directory), ["b.bc"]);
        remove(&disk, &directory).unwrap();
        assert!(!directory.exists());
        remove(&disk, &directory).unwrap();
    }

    #[test]
    fn a_power_cut_leaves_one_link_or_the_other() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("sieve");
        follow(&Disk::default(), &directory, &changes(&[], Some("a"))).unwrap();
        let recorder = Recorder::new(root.path()).unwrap();
        let disk = Disk::default().recorded_by(&recorder);
        follow(&disk, &directory, &changes(&["a"], Some("b"))).unwrap();
        for cut in 0..=recorder.len() {
            for survival in [Survival::OnlySynced, Survival::Everything] {
                let after = tempfile::tempdir().unwrap();
                recorder.after_cut(cut, survival, after.path()).unwrap();
                let link = after.path().join("sieve").join(LINK);
                let target = disk.link_target(&link).unwrap().unwrap();
                let target = target.to_str().unwrap();
                assert!(matches!(target, "a.bc" | "b.bc"), "{cut}: {target}");
                assert!(cut < recorder.len() || target == "b.bc");
            }
        }
    }
}
