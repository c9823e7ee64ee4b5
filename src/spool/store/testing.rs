//! A store for tests, with the defaults of Debian's Cyrus where nothing else is said.

use std::path::Path;
use std::sync::Arc;

use super::Store;
use crate::config::{Config, Environment};
use crate::spool::disk::Disk;

/// A store below `root`; `options` are further lines of its imapd.conf.
pub fn store_below(root: &Path, disk: Disk, options: &str) -> Arc<Store> {
    for directory in ["conf/db", "conf/socket", "spool"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    let settings = format!(
        "configdirectory: {root}/conf\npartition-default: {root}/spool\ndefaultpartition: default\n\
         servername: test.example.org\nadmins: cyrus\n{options}",
        root = root.display()
    );
    let read = |path: &Path| match path.ends_with("imapd.conf") {
        true => Ok(settings.clone().into_bytes()),
        false => Err(std::io::ErrorKind::NotFound.into()),
    };
    let environment = Environment::default();
    let config = Config::read(Path::new("/imapd.conf"), &environment, &read).unwrap();
    Arc::new(Store::through(config, disk).unwrap())
}
