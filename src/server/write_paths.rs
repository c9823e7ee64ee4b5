//! The directories that the sandbox of a unit must leave writable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::Places;

/// Settings of a unit that leave the directories of the store writable. Each may be absent when
/// the unit starts.
pub fn write_paths(places: &Places) -> String {
    let mut settings = String::from("[Service]\n");
    for directory in directories(places) {
        // A specifier begins with a per cent sign; in quotes, backslash and quote mean themselves
        // only behind a backslash.
        let path = directory.display().to_string();
        let quoted = path
            .replace('%', "%%")
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        settings.push_str(&format!("ReadWritePaths=\"-{quoted}\"\n"));
    }
    settings
}

/// All directories of the store, without those that are below another one.
fn directories(places: &Places) -> BTreeSet<PathBuf> {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let mut all: BTreeSet<PathBuf> = [
        places.config_directory.clone(),
        places.user_directory.clone(),
        places.lock_directory.clone(),
        places.process_directory.clone(),
        places.sieve_directory.clone(),
    ]
    .into();
    let databases = [
        &places.mailboxes_db,
        &places.annotations_db,
        &places.status_cache_db,
        &places.denied_users_db,
        &places.quotas_db,
    ];
    all.extend(databases.iter().filter_map(|file| parent(file)));
    for partition in places.partitions.values() {
        all.insert(partition.data.clone());
        all.extend(partition.metadata.clone());
        all.extend(partition.archive.clone());
        let by_file = partition.metadata_by_file.iter();
        all.extend(by_file.map(|(_, directory)| directory.clone()));
    }
    let covered = |path: &PathBuf| path.ancestors().skip(1).any(|above| all.contains(above));
    all.iter().filter(|path| !covered(path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PartitionPlaces;
    use crate::mail::Partition;

    #[test]
    fn every_directory_once_and_quoted() {
        let mut places = Places::below("/var/lib/cyrus");
        places.mailboxes_db = PathBuf::from("/srv/db/mailboxes.db");
        let partition = PartitionPlaces {
            data: PathBuf::from("/srv/mail 100%"),
            metadata: Some(PathBuf::from("/srv/db/meta")),
            ..PartitionPlaces::default()
        };
        places
            .partitions
            .insert(Partition::parse("default").unwrap(), partition);
        places.sieve_directory = PathBuf::from("/srv/sieve");
        assert_eq!(
            write_paths(&places),
            "[Service]\nReadWritePaths=\"-/srv/db\"\nReadWritePaths=\"-/srv/mail 100%%\"\n\
             ReadWritePaths=\"-/srv/sieve\"\nReadWritePaths=\"-/var/lib/cyrus\"\n"
        );
    }
}
