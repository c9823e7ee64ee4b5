//! What belongs to a user and not to a mailbox: where its files are, and ways to open and remove them.

use std::path::{Path, PathBuf};

use super::Store;
use crate::mail::{MailboxName, UserId};
use crate::spool::SpoolError;
use crate::spool::cyrusdb::Create;
use crate::spool::layout::{UserFile, UserHome};
use crate::spool::mailboxes::{MailboxEntry, MailboxList};
use crate::spool::seen::SeenDb;
use crate::spool::sieve::{self, ScriptTable};
use crate::spool::subscriptions::Subscriptions;

/// Where a user's files are, given the mailbox that [`Store::home_mailbox`] found.
pub fn home_of<'a>(user: &'a UserId, inbox: Option<&'a MailboxEntry>) -> UserHome<'a> {
    UserHome::of(
        user,
        inbox.map(|inbox| (inbox.mailbox_type, &inbox.unique_id)),
    )
}

impl Store {
    /// The mailbox after which the directory of a user's files is named: the INBOX, also if it is
    /// a tombstone. `None` if there never was one, or if it became the INBOX of another user, who
    /// has the files now.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn home_mailbox(
        &self,
        list: &mut MailboxList,
        user: &UserId,
    ) -> Result<Option<MailboxEntry>, SpoolError> {
        let inbox = list.find(&self.namespace().inbox_of(user))?;
        self.home_mailbox_of(list, user, inbox)
    }

    /// The same if what the list says of the INBOX is known.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn home_mailbox_of(
        &self,
        list: &mut MailboxList,
        user: &UserId,
        inbox: Option<MailboxEntry>,
    ) -> Result<Option<MailboxEntry>, SpoolError> {
        let Some(inbox) = inbox else {
            return Ok(None);
        };
        if inbox.is_tombstone()
            && let Some(now) = list.find_id(&inbox.unique_id)?
            && self.namespace().owner_of(&now.name) != Some(self.namespace().canonical_user(user))
        {
            return Ok(None);
        }
        Ok(Some(inbox))
    }

    /// Where the files of a user are.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn user_file(
        &self,
        list: &mut MailboxList,
        user: &UserId,
        file: UserFile,
    ) -> Result<PathBuf, SpoolError> {
        let inbox = self.home_mailbox(list, user)?;
        Ok(self.layout.user_file(home_of(user, inbox.as_ref()), file))
    }

    /// What a user has seen of mailboxes that are not the user's own.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub fn seen(
        &self,
        list: &mut MailboxList,
        user: &UserId,
        create: Create,
    ) -> Result<Option<SeenDb>, SpoolError> {
        let inbox = self.home_mailbox(list, user)?;
        self.seen_at(home_of(user, inbox.as_ref()), create)
    }

    /// The same if it is known where the user's files are.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub fn seen_at(
        &self,
        home: UserHome<'_>,
        create: Create,
    ) -> Result<Option<SeenDb>, SpoolError> {
        let path = self.layout.user_file(home, UserFile::Seen);
        let backend = self.backend(self.config.databases.seen);
        SeenDb::open(&self.disk, &path, backend, create)
    }

    /// The names that a user is subscribed to.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn subscriptions(
        &self,
        list: &mut MailboxList,
        user: &UserId,
    ) -> Result<Vec<MailboxName>, SpoolError> {
        let inbox = self.home_mailbox(list, user)?;
        self.subscriptions_at(home_of(user, inbox.as_ref()), user)
    }

    /// The same if it is known where the user's files are.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn subscriptions_at(
        &self,
        home: UserHome<'_>,
        user: &UserId,
    ) -> Result<Vec<MailboxName>, SpoolError> {
        let path = self.layout.user_file(home, UserFile::Subscriptions);
        let backend = self.backend(self.config.databases.subscriptions);
        let open = Subscriptions::open(&self.disk, &path, backend, self.namespace(), user)?;
        open.map_or_else(|| Ok(Vec::new()), |mut subscriptions| subscriptions.list())
    }

    /// Opens a user's subscriptions for a change.
    ///
    /// # Errors
    /// If they cannot be opened.
    pub fn subscriptions_for_change(
        &self,
        list: &mut MailboxList,
        user: &UserId,
    ) -> Result<Subscriptions, SpoolError> {
        let path = self.user_file(list, user, UserFile::Subscriptions)?;
        let backend = self.backend(self.config.databases.subscriptions);
        Subscriptions::open_for_change(
            &self.disk,
            &path,
            backend,
            self.namespace(),
            user,
            &self.locks,
        )
    }

    /// The table of a user's Sieve scripts; `None` if there is none and it is not to be made.
    ///
    /// # Errors
    /// If it cannot be opened or made.
    pub fn scripts(
        &self,
        list: &mut MailboxList,
        user: &UserId,
        create: Create,
    ) -> Result<Option<ScriptTable>, SpoolError> {
        let path = self.user_file(list, user, UserFile::Dav)?;
        if create == Create::No && self.disk.status(&path)?.is_none() {
            return Ok(None);
        }
        ScriptTable::open(&self.disk, &path, self.config.locks.timeout).map(Some)
    }

    /// Where the compiled Sieve scripts of a user are.
    ///
    /// # Errors
    /// If the mailbox list cannot be read.
    pub fn sieve_directory(
        &self,
        list: &mut MailboxList,
        user: &UserId,
    ) -> Result<PathBuf, SpoolError> {
        let inbox = self.home_mailbox(list, user)?;
        Ok(self.layout.sieve_directory(home_of(user, inbox.as_ref())))
    }

    /// Removes the files that belong to a user and not to a mailbox: seen state, subscriptions,
    /// Sieve scripts and all else in the user's directory.
    ///
    /// # Errors
    /// If one of them cannot be removed.
    pub fn remove_user_files(&self, home: UserHome<'_>) -> Result<(), SpoolError> {
        sieve::remove(&self.disk, &self.layout.sieve_directory(home))?;
        match home {
            UserHome::UniqueId(id) => self.remove_directory(&self.layout.user_directory(id)),
            UserHome::UserId(_) => {
                for file in UserFile::ALL {
                    self.disk.unlink(&self.layout.user_file(home, file))?;
                }
                Ok(())
            }
        }
    }

    /// Removes a directory of plain files.
    fn remove_directory(&self, directory: &Path) -> Result<(), SpoolError> {
        let Some(names) = self.disk.read_dir(directory)? else {
            return Ok(());
        };
        for name in names {
            self.disk.unlink(&directory.join(name))?;
        }
        self.disk.remove_dir(directory)?;
        Ok(())
    }
}
