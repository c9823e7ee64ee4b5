//! The banner and the capabilities it tells (wire-protocol §2, §6).

/// The capability by which Sieve scripts travel as messages.
pub const SIEVE_MAILBOX: &str = "SIEVE-MAILBOX";

/// The capability by which a client may say which mailbox UNMAILBOX means, not only its name.
pub const UNMAILBOX_ID: &str = "UNMAILBOX-ID";

/// The capability, and the verb, by which a client tells under which name it logs a run. It is
/// ours (docs/protocol-extensions.md); the original's client ignores it in a banner.
pub const RUN_ID: &str = "X-RUN-ID";

/// The capability, the sub-command of GET and its data line, by which users whose state is the
/// same on both sides are passed over (docs/protocol-extensions.md).
pub const DIGEST: &str = "X-DIGEST";

/// The capability, and the key in a MAILBOX item, by which records travel without their keys
/// (docs/protocol-extensions.md).
pub const RECORDS: &str = "X-RECORDS";

/// The capability by which COMPRESS ZSTD is possible (docs/protocol-extensions.md).
const ZSTD: &str = "X-ZSTD";

/// What a server offers before authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// SASL mechanisms that are usable now, in the server's order.
    pub mechanisms: Vec<String>,
    /// STARTTLS.
    pub starttls: bool,
    /// COMPRESS DEFLATE.
    pub deflate: bool,
    /// COMPRESS ZSTD (docs/protocol-extensions.md).
    pub zstd: bool,
    /// SIEVE-MAILBOX.
    pub sieve_mailbox: bool,
    /// REPLICATION-ARCHIVE (3.8 and later).
    pub replication_archive: bool,
    /// UNMAILBOX-ID (after 3.12).
    pub unmailbox_id: bool,
    /// X-RUN-ID.
    pub run_id: bool,
    /// X-DIGEST.
    pub digest: bool,
    /// X-RECORDS.
    pub compact_records: bool,
}

impl Capabilities {
    /// Appends the banner. A peer that needs no authentication gets only the last line:
    /// `capabilities` of [`Capabilities::default`].
    pub fn write_banner(&self, out: &mut Vec<u8>, server_name: &str, version: &str) {
        let mut line = |text: &str| {
            out.extend_from_slice(b"* ");
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(b"\r\n");
        };
        if !self.mechanisms.is_empty() {
            line(&format!("SASL {}", self.mechanisms.join(" ")));
        }
        for (offered, text) in [
            (self.starttls, "STARTTLS"),
            (self.deflate, "COMPRESS DEFLATE"),
            (self.zstd, ZSTD),
            (self.sieve_mailbox, SIEVE_MAILBOX),
            (self.replication_archive, "REPLICATION-ARCHIVE"),
            (self.unmailbox_id, UNMAILBOX_ID),
            (self.run_id, RUN_ID),
            (self.digest, DIGEST),
            (self.compact_records, RECORDS),
        ] {
            if offered {
                line(text);
            }
        }
        line(&format!("OK {server_name} Cyrus sync server {version}"));
    }

    /// What the original's server could offer too, if `extensions` are not wanted.
    pub fn with_extensions(self, extensions: bool) -> Capabilities {
        Capabilities {
            zstd: self.zstd && extensions,
            run_id: self.run_id && extensions,
            digest: self.digest && extensions,
            compact_records: self.compact_records && extensions,
            ..self
        }
    }

    /// Takes one line of a banner, without its end; true if it is the last.
    pub fn read_line(&mut self, line: &[u8]) -> bool {
        if line
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"* OK"))
        {
            return true;
        }
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace().skip(1);
        let name = words.next().unwrap_or_default().to_ascii_uppercase();
        match name.as_str() {
            "SASL" => self.mechanisms = words.map(str::to_ascii_uppercase).collect(),
            "STARTTLS" => self.starttls = true,
            "COMPRESS" => {
                self.deflate |= words.any(|word| word.eq_ignore_ascii_case("DEFLATE"));
            }
            ZSTD => self.zstd = true,
            SIEVE_MAILBOX => self.sieve_mailbox = true,
            "REPLICATION-ARCHIVE" => self.replication_archive = true,
            UNMAILBOX_ID => self.unmailbox_id = true,
            RUN_ID => self.run_id = true,
            DIGEST => self.digest = true,
            RECORDS => self.compact_records = true,
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(banner: &str) -> Capabilities {
        let mut capabilities = Capabilities::default();
        let lines: Vec<bool> = banner
            .split_terminator("\r\n")
            .map(|line| capabilities.read_line(line.as_bytes()))
            .collect();
        assert_eq!(
            lines.iter().position(|last| *last),
            Some(lines.len() - 1),
            "only the last line ends a banner"
        );
        capabilities
    }

    /// The banners of wire-protocol §2.
    #[test]
    fn banners_both_ways() {
        for (banner, name) in [
            (
                "* SASL PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256\r\n\
                 * COMPRESS DEFLATE\r\n* SIEVE-MAILBOX\r\n\
                 * OK r.example.org Cyrus sync server 3.6.1-Debian-3.6.1-4+deb12u5\r\n",
                "r.example.org",
            ),
            (
                "* STARTTLS\r\n* COMPRESS DEFLATE\r\n* SIEVE-MAILBOX\r\n\
                 * OK t.example.org Cyrus sync server 3.6.1-Debian-3.6.1-4+deb12u5\r\n",
                "t.example.org",
            ),
            (
                "* SASL PLAIN LOGIN\r\n* SIEVE-MAILBOX\r\n* REPLICATION-ARCHIVE\r\n\
                 * UNMAILBOX-ID\r\n\
                 * OK t.example.org Cyrus sync server 3.6.1-Debian-3.6.1-4+deb12u5\r\n",
                "t.example.org",
            ),
            (
                "* OK u.example.org Cyrus sync server 3.6.1-Debian-3.6.1-4+deb12u5\r\n",
                "u.example.org",
            ),
        ] {
            assert!(!read(banner).run_id);
            let mut out = Vec::new();
            read(banner).write_banner(&mut out, name, "3.6.1-Debian-3.6.1-4+deb12u5");
            assert_eq!(String::from_utf8(out).unwrap(), banner);
        }
    }

    #[test]
    fn our_own_capabilities() {
        let banner = "* SASL PLAIN\r\n* X-RUN-ID\r\n* X-DIGEST\r\n* X-RECORDS\r\n\
                      * OK r.example.org Cyrus sync server x\r\n";
        let capabilities = read(banner);
        assert!(capabilities.run_id && capabilities.digest && capabilities.compact_records);
        let mut out = Vec::new();
        capabilities.write_banner(&mut out, "r.example.org", "x");
        assert_eq!(String::from_utf8(out).unwrap(), banner);
        let without = capabilities.with_extensions(false);
        assert!(!without.run_id && !without.digest && !without.compact_records);
    }

    #[test]
    fn names_compare_without_case_and_unknown_ones_are_ignored() {
        let capabilities =
            read("* sasl plain\r\n\r\n* NEWS x\r\n*\r\n* compress deflate\r\n* ok\r\n");
        assert_eq!(capabilities.mechanisms, ["PLAIN"]);
        assert!(capabilities.deflate);
        assert!(!capabilities.starttls);
    }
}
