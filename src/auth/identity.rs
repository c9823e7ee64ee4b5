//! The rules by which a login becomes a user (configuration §5.4).

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use nix::unistd::{Gid, Group, User, getgrouplist};

use super::passwords::{self, PasswordFileError, Verifiers};
use super::saslauthd::{self, SaslauthdError};
use super::sasldb::{self, Password, SasldbError};
use crate::config::{Config, PasswordCheck, SaslSettings};
use crate::mail::UserId;
use crate::protocol::sasl::ScramHash;
use crate::protocol::sasl::server::ScramSecret;

/// The service name by which saslauthd and PAM know us.
const SERVICE: &str = "csync";
/// Longest user id (3.6.1).
const MAX_LEN: usize = 80;

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The text cannot be a user id.
    #[error("{0:?} is no legal user id")]
    IllegalUser(String),
    /// There is no such user.
    #[error("user {0} is unknown")]
    UnknownUser(String),
    /// The password is not that of the user.
    #[error("wrong password for {0}")]
    WrongPassword(String),
    /// Users of this realm may not log in (`loginrealms`).
    #[error("{0} is of a realm that may not log in")]
    RealmRefused(String),
    /// Somebody wants to be somebody else.
    #[error("{user} may not act as {wanted}")]
    ActingRefused {
        /// Who it is.
        user: String,
        /// Who it wants to be.
        wanted: String,
    },
    /// Our password file is of no use.
    #[error(transparent)]
    PasswordFile(#[from] PasswordFileError),
    /// The password file of Cyrus SASL is of no use.
    #[error(transparent)]
    Sasldb(#[from] SasldbError),
    /// saslauthd could not be asked.
    #[error(transparent)]
    Saslauthd(#[from] SaslauthdError),
}

impl AuthError {
    /// Whether the fault is with this server and the same login may succeed later.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            AuthError::PasswordFile(_) | AuthError::Sasldb(_) | AuthError::Saslauthd(_)
        )
    }
}

/// Somebody who has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// Whether it is an administrator; nobody else may replicate.
    pub is_admin: bool,
}

/// How the texts that people log in with become user ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserIdPolicy {
    /// Upper case is folded (`username_tolower`).
    pub lower_case: bool,
    /// `%` stands for `@`, and the default domain is cut off (`virtdomains`).
    pub virtual_domains: bool,
    /// `defaultdomain`.
    pub default_domain: Option<String>,
}

impl UserIdPolicy {
    /// The user id that somebody logs in with.
    ///
    /// # Errors
    /// If Cyrus would not take it as one, or if it means everybody or nobody.
    pub fn canonical(&self, text: &str) -> Result<UserId, AuthError> {
        let illegal = || AuthError::IllegalUser(text.to_owned());
        let mut user = match text.rfind('@').or_else(|| text.rfind('%')) {
            Some(at) if self.virtual_domains => {
                let (local, domain) = (text.get(..at), text.get(at + 1..));
                self.with_domain(local.unwrap_or_default(), domain.unwrap_or_default())
            }
            _ => text.to_owned(),
        };
        if self.lower_case {
            user.make_ascii_lowercase();
        }
        if user.len() > MAX_LEN || !user.bytes().all(is_legal) || user.starts_with("group:") {
            return Err(illegal());
        }
        let user = UserId::parse(&user).map_err(|_| illegal())?;
        let is_of_nobody = ["anyone", "anybody", "anonymous"]
            .iter()
            .any(|word| user.local_part().eq_ignore_ascii_case(word));
        if is_of_nobody {
            Err(illegal())
        } else {
            Ok(user)
        }
    }

    fn with_domain(&self, local: &str, domain: &str) -> String {
        match &self.default_domain {
            Some(default) if default.eq_ignore_ascii_case(domain) => local.to_owned(),
            _ => format!("{local}@{domain}"),
        }
    }
}

/// The octets of user ids: printable ASCII without those that mean something elsewhere.
fn is_legal(byte: u8) -> bool {
    (b' '..0x7f).contains(&byte) && !b"%&*/:?".contains(&byte)
}

/// Decides who may come in.
#[derive(Debug, Clone)]
pub struct Authenticator {
    settings: SaslSettings,
    policy: UserIdPolicy,
    /// Realm of users without one: the server's name in lower case.
    default_realm: String,
}

impl Authenticator {
    /// Decides as the configuration says.
    pub fn new(config: &Config) -> Authenticator {
        Authenticator {
            settings: config.sasl.clone(),
            policy: UserIdPolicy {
                lower_case: config.sasl.lower_case_users,
                virtual_domains: config.namespace.virtual_domains,
                default_domain: config.namespace.default_domain.clone(),
            },
            default_realm: config.server_name.to_ascii_lowercase(),
        }
    }

    /// How long a refusal is held back (`failedloginpause`).
    pub fn failed_login_pause(&self) -> Duration {
        self.settings.failed_login_pause
    }

    /// The user id that somebody logs in with, before anything is proved.
    ///
    /// # Errors
    /// If it cannot be one.
    pub fn canonical(&self, login: &str) -> Result<UserId, AuthError> {
        self.policy.canonical(login)
    }

    /// What SCRAM needs of a user; `None` if the user is unknown, or known without that.
    ///
    /// # Errors
    /// If a file of passwords cannot be read.
    pub fn scram_secret(
        &self,
        user: &UserId,
        hash: ScramHash,
    ) -> Result<Option<ScramSecret>, AuthError> {
        if let Some(verifiers) = self.verifiers(user)? {
            return Ok(verifiers.scram(hash).cloned());
        }
        match self.password_of(user)? {
            Some(password) => Ok(ScramSecret::from_password(hash, &password).ok()),
            None => Ok(None),
        }
    }

    /// What our own password file knows of a user (`cyrus_sync_password_file`).
    fn verifiers(&self, user: &UserId) -> Result<Option<Verifiers>, AuthError> {
        match &self.settings.password_file {
            Some(path) => Ok(passwords::find(path, user)?),
            None => Ok(None),
        }
    }

    /// The password of a user in sasldb; `None` if the user is unknown.
    fn password_of(&self, user: &UserId) -> Result<Option<Password>, AuthError> {
        let (local, realm) = split_realm(user);
        let realm = realm.unwrap_or(&self.default_realm);
        match sasldb::password(&self.settings.sasldb_path, local, realm) {
            // Our own file is enough.
            Err(error) if error.is_absence() && self.settings.password_file.is_some() => Ok(None),
            password => Ok(password?),
        }
    }

    /// Lets somebody in who shows a password. `wanted` is whom it wants to act as: nobody in
    /// particular if empty.
    ///
    /// # Errors
    /// If it is not let in.
    pub fn check_plain(
        &self,
        login: &str,
        wanted: &str,
        password: &[u8],
    ) -> Result<Identity, AuthError> {
        let user = self.canonical(login)?;
        // Some back ends of saslauthd take an empty password for a login without one.
        if password.is_empty() {
            return Err(AuthError::WrongPassword(user.to_string()));
        }
        // Whom our own file knows is judged by it alone.
        if let Some(verifiers) = self.verifiers(&user)? {
            return match verifiers.fits(password) {
                true => self.admit(&user, wanted),
                false => Err(AuthError::WrongPassword(user.to_string())),
            };
        }
        let mut refusal = AuthError::UnknownUser(user.to_string());
        for check in &self.settings.password_checks {
            let checked = match check {
                PasswordCheck::Sasldb => self.check_sasldb(&user, password),
                PasswordCheck::Saslauthd => self.check_saslauthd(&user, password),
            };
            match checked {
                Ok(()) => return self.admit(&user, wanted),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// Lets somebody in who has proved in another way to be `user`.
    ///
    /// # Errors
    /// If users of its realm may not log in, or if it wants to act as somebody else.
    pub fn admit(&self, user: &UserId, wanted: &str) -> Result<Identity, AuthError> {
        if !self.may_log_in(user) {
            return Err(AuthError::RealmRefused(user.to_string()));
        }
        // Cyrus lets some act as others, but then nobody may replicate (configuration §5.4).
        if !wanted.is_empty() && self.canonical(wanted)? != *user {
            return Err(AuthError::ActingRefused {
                user: user.to_string(),
                wanted: wanted.to_owned(),
            });
        }
        Ok(Identity {
            user: user.clone(),
            is_admin: self.is_admin(user),
        })
    }

    fn check_sasldb(&self, user: &UserId, password: &[u8]) -> Result<(), AuthError> {
        let Some(expected) = self.password_of(user)? else {
            return Err(AuthError::UnknownUser(user.to_string()));
        };
        verify_slices_are_equal(&expected, password)
            .map_err(|_| AuthError::WrongPassword(user.to_string()))
    }

    fn check_saslauthd(&self, user: &UserId, password: &[u8]) -> Result<(), AuthError> {
        let (local, realm) = split_realm(user);
        let socket = &self.settings.saslauthd_path;
        let realm = realm.unwrap_or_default();
        if saslauthd::check(socket, local, password, SERVICE, realm)? {
            Ok(())
        } else {
            Err(AuthError::WrongPassword(user.to_string()))
        }
    }

    fn may_log_in(&self, user: &UserId) -> bool {
        let realms = &self.settings.login_realms;
        if self.policy.virtual_domains && realms.is_empty() {
            return true;
        }
        match user.as_str().split_once('@') {
            None => true,
            Some((_, realm)) => realms.iter().any(|known| known.eq_ignore_ascii_case(realm)),
        }
    }

    fn is_admin(&self, user: &UserId) -> bool {
        let admins = &self.settings.admins;
        let is_named = |admin: &String| admin == user.as_str() || admin == "anyone";
        if admins.iter().any(is_named) {
            return true;
        }
        let wanted: Vec<&str> = admins
            .iter()
            .filter_map(|admin| admin.strip_prefix("group:"))
            .collect();
        !wanted.is_empty()
            && self.settings.unix_groups
            && groups_of(user)
                .iter()
                .any(|group| wanted.contains(&group.as_str()))
    }
}

/// Local part and realm, as SASL divides them for its back ends.
fn split_realm(user: &UserId) -> (&str, Option<&str>) {
    match user.as_str().split_once('@') {
        Some((local, realm)) => (local, Some(realm)),
        None => (user.as_str(), None),
    }
}

/// The names of the groups that the system has the user in; none if it does not know the user.
fn groups_of(user: &UserId) -> Vec<String> {
    let name = std::ffi::CString::new(user.as_str()).unwrap_or_default();
    let primary = User::from_name(user.as_str()).ok().flatten();
    // A user whom the system does not know may still be listed in groups.
    let gid = primary
        .as_ref()
        .map_or(Gid::from_raw(u32::MAX), |found| found.gid);
    let groups = getgrouplist(&name, gid).unwrap_or_default();
    groups
        .into_iter()
        .filter(|group| primary.is_some() || *group != gid)
        .filter_map(|group| Group::from_gid(group).ok().flatten())
        .map(|group| group.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use std::path::Path;

    const SASLDB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/auth/tests/sasldb2");

    /// With the password file made by saslpasswd2, on the server Lab.Test.
    fn authenticator(lines: &str) -> Authenticator {
        let text = format!(
            "configdirectory: /c\npartition-default: /s\nservername: Lab.Test\n\
             admins: cyrus repl alice@example.com group:root\nsasl_sasldb_path: {SASLDB}\n{lines}\n"
        );
        let read = |_: &Path| Ok(text.clone().into_bytes());
        let config = Config::read(Path::new("/x"), &Environment::default(), &read).unwrap();
        Authenticator::new(&config)
    }

    #[test]
    fn passwords_and_admins() {
        let authenticator = authenticator("");
        let login = |user, password: &str| authenticator.check_plain(user, "", password.as_bytes());
        let repl = login("Repl", "secret2").unwrap();
        assert_eq!(repl.user.as_str(), "repl");
        assert!(repl.is_admin);
        assert!(login("cyrus", "pass word ü").unwrap().is_admin);
        let long = "x".repeat(200);
        assert!(!login("long", &long).unwrap().is_admin);
        assert!(matches!(
            login("repl", "secret"),
            Err(AuthError::WrongPassword(_))
        ));
        assert!(matches!(
            login("repl", ""),
            Err(AuthError::WrongPassword(_))
        ));
        assert!(matches!(login("gone", "x"), Err(AuthError::UnknownUser(_))));
        assert!(matches!(
            login("anyone", "x"),
            Err(AuthError::IllegalUser(_))
        ));
    }

    #[test]
    fn our_own_password_file_goes_before_sasldb() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let lines = format!("cyrus_sync_password_file: {}", path.display());
        let authenticator = authenticator(&lines);
        let login = |user, password| authenticator.check_plain(user, "", password);
        assert!(login("cyrus", b"x").unwrap_err().is_temporary());
        let repl = UserId::parse("repl").unwrap();
        passwords::set(&path, &repl, b"from our file").unwrap();
        assert!(login("Repl", b"from our file").unwrap().is_admin);
        assert!(matches!(
            login("repl", b"secret2"),
            Err(AuthError::WrongPassword(_))
        ));
        assert!(login("cyrus", "pass word ü".as_bytes()).is_ok());
        let secret = authenticator.scram_secret(&repl, ScramHash::Sha256);
        assert!(secret.unwrap().unwrap().fits(b"from our file"));
        let gone = UserId::parse("gone").unwrap();
        let secret = authenticator.scram_secret(&gone, ScramHash::Sha1);
        assert!(secret.unwrap().is_none());
    }

    #[test]
    fn our_own_password_file_is_enough() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwords");
        let gone = UserId::parse("gone").unwrap();
        passwords::set(&path, &UserId::parse("repl").unwrap(), b"x").unwrap();
        let lines = format!("cyrus_sync_password_file: {}", path.display());
        let mut authenticator = authenticator(&lines);
        authenticator.settings.sasldb_path = directory.path().join("absent");
        let login = authenticator.check_plain("gone", "", b"x");
        assert!(matches!(login, Err(AuthError::UnknownUser(_))));
        let secret = authenticator.scram_secret(&gone, ScramHash::Sha256);
        assert!(secret.unwrap().is_none());
    }

    #[test]
    fn realms() {
        let login = |lines: &str, user: &str| {
            let authenticator = authenticator(lines);
            authenticator.check_plain(user, "", b"wonderland")
        };
        let alice = "alice@example.com";
        assert!(matches!(login("", alice), Err(AuthError::RealmRefused(_))));
        let other = "loginrealms: example.org";
        assert!(matches!(
            login(other, alice),
            Err(AuthError::RealmRefused(_))
        ));
        for open in [
            "loginrealms: example.org Example.com",
            "virtdomains: userid",
        ] {
            assert!(login(open, alice).unwrap().is_admin, "{open}");
        }
        assert!(login("virtdomains: userid", "alice%example.com").is_ok());
    }

    #[test]
    fn nobody_acts_as_another() {
        let authenticator = authenticator("");
        let login = |wanted| authenticator.check_plain("repl", wanted, b"secret2");
        assert!(login("REPL").is_ok());
        assert!(matches!(
            login("cyrus"),
            Err(AuthError::ActingRefused { .. })
        ));
    }

    #[test]
    fn a_check_that_fails_leaves_the_next() {
        let lines = "sasl_pwcheck_method: saslauthd auxprop\nsasl_saslauthd_path: /nonexistent";
        let authenticator = authenticator(lines);
        assert!(authenticator.check_plain("repl", "", b"secret2").is_ok());
        let lines = "sasl_pwcheck_method: auxprop saslauthd\nsasl_saslauthd_path: /nonexistent";
        let authenticator = self::authenticator(lines);
        let error = authenticator.check_plain("repl", "", b"wrong").unwrap_err();
        assert!(error.is_temporary(), "{error}");
    }

    #[test]
    fn administrators_by_group() {
        let root = UserId::parse("root").unwrap();
        assert!(authenticator("").admit(&root, "").unwrap().is_admin);
        let without_groups = authenticator("unix_group_enable: no");
        assert!(!without_groups.admit(&root, "").unwrap().is_admin);
        assert!(groups_of(&UserId::parse("no such user").unwrap()).is_empty());
    }

    #[test]
    fn user_ids() {
        let policy = UserIdPolicy {
            lower_case: true,
            virtual_domains: true,
            default_domain: Some("internal".to_owned()),
        };
        let canonical = |text: &str| policy.canonical(text).map(|user| user.to_string());
        for (text, user) in [
            ("Alice", "alice"),
            ("alice@INTERNAL", "alice"),
            ("alice%Example.com", "alice@example.com"),
            ("john.doe+x", "john.doe+x"),
        ] {
            assert_eq!(canonical(text).unwrap(), user, "{text}");
        }
        let long = "x".repeat(81);
        for bad in [
            "",
            "a/b",
            "a:b",
            "group:root",
            "ä",
            "a\0b",
            "anonymous@x",
            "Anyone",
            &long,
        ] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
        let kept = UserIdPolicy {
            lower_case: false,
            ..policy
        };
        assert_eq!(kept.canonical("Alice").unwrap().as_str(), "Alice");
    }
}
