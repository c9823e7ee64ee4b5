//! Which mechanisms exist and which may be offered.

use std::fmt;
use std::str::FromStr;

use super::ScramHash;

/// A mechanism, in order of preference of a client (configuration §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// Identity from the TLS client certificate.
    External,
    /// RFC 5802 and RFC 7677 without channel binding.
    Scram(ScramHash),
    /// RFC 4616.
    Plain,
    /// The obsolete user-then-password dialogue.
    Login,
}

/// A name that is no mechanism known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown SASL mechanism {0:?}")]
pub struct UnknownMechanism(pub String);

impl Mechanism {
    /// All mechanisms, in order of preference.
    pub const ALL: [Mechanism; 5] = [
        Mechanism::External,
        Mechanism::Scram(ScramHash::Sha256),
        Mechanism::Scram(ScramHash::Sha1),
        Mechanism::Plain,
        Mechanism::Login,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::External => "EXTERNAL",
            Mechanism::Scram(ScramHash::Sha256) => "SCRAM-SHA-256",
            Mechanism::Scram(ScramHash::Sha1) => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// Whether the password itself travels.
    pub fn is_plain_text(self) -> bool {
        matches!(self, Mechanism::Plain | Mechanism::Login)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mechanism {
    type Err = UnknownMechanism;

    fn from_str(text: &str) -> Result<Mechanism, UnknownMechanism> {
        Mechanism::ALL
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownMechanism(text.to_owned()))
    }
}

/// What decides which mechanisms a server offers (configuration §5.2, §5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// `sasl_mech_list`, in its order; without one, all that the credentials allow.
    pub mechanisms: Vec<Mechanism>,
    /// `sasl_minimum_layer`.
    pub minimum_layer: u32,
    /// `allowplaintext`.
    pub allow_plain_text: bool,
    /// Strength of the layer below: `-p`, or the cipher's once TLS is active.
    pub external_strength: u32,
    /// TLS is active.
    pub tls: bool,
    /// The TLS client certificate names somebody.
    pub certificate: bool,
}

/// Why a mechanism is not offered; the text of the NO answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOffered {
    /// Not in the list, or without the certificate it needs.
    NoMechanism,
    /// Plain text that nothing protects.
    NeedsEncryption,
    /// The required strength is not reached.
    TooWeak,
}

impl NotOffered {
    /// The text of the original.
    pub fn text(self) -> &'static str {
        match self {
            NotOffered::NoMechanism => "no mechanism available",
            NotOffered::NeedsEncryption => "encryption needed to use mechanism",
            NotOffered::TooWeak => "mechanism too weak for this user",
        }
    }
}

impl Offer {
    /// Whether `mechanism` may be used now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, mechanism: Mechanism) -> Result<(), NotOffered> {
        if !self.mechanisms.contains(&mechanism)
            || (mechanism == Mechanism::External && !(self.tls && self.certificate))
        {
            return Err(NotOffered::NoMechanism);
        }
        // None of these mechanisms brings a layer of its own.
        if self.minimum_layer > self.external_strength {
            return Err(NotOffered::TooWeak);
        }
        // Strength 1 means integrity only.
        let protected = self.tls || self.external_strength > 1;
        if mechanism.is_plain_text() && !self.allow_plain_text && !protected {
            return Err(NotOffered::NeedsEncryption);
        }
        Ok(())
    }

    /// The mechanisms to be told in the banner.
    pub fn offered(&self) -> Vec<Mechanism> {
        self.mechanisms
            .iter()
            .copied()
            .filter(|mechanism| self.check(*mechanism).is_ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> Offer {
        Offer {
            mechanisms: Mechanism::ALL.to_vec(),
            minimum_layer: 0,
            allow_plain_text: false,
            external_strength: 0,
            tls: false,
            certificate: false,
        }
    }

    fn names(offer: &Offer) -> String {
        let names: Vec<_> = offer.offered().into_iter().map(Mechanism::name).collect();
        names.join(" ")
    }

    /// The table of configuration §5.2.
    #[test]
    fn plain_text_needs_protection_or_permission() {
        for strength in [0, 1] {
            let mut offer = offer();
            offer.external_strength = strength;
            assert_eq!(names(&offer), "SCRAM-SHA-256 SCRAM-SHA-1");
            assert_eq!(
                offer.check(Mechanism::Plain).unwrap_err().text(),
                "encryption needed to use mechanism"
            );
            offer.allow_plain_text = true;
            assert_eq!(names(&offer), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN");
        }
        for strength in [2, 55, 256] {
            let mut offer = offer();
            offer.external_strength = strength;
            assert_eq!(names(&offer), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN");
        }
    }

    #[test]
    fn a_minimum_layer_must_come_from_below() {
        let mut offer = offer();
        offer.allow_plain_text = true;
        offer.minimum_layer = 1;
        assert_eq!(names(&offer), "");
        assert_eq!(
            offer.check(Mechanism::Plain).unwrap_err().text(),
            "mechanism too weak for this user"
        );
        offer.external_strength = 1;
        assert_eq!(names(&offer), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN");
    }

    #[test]
    fn under_tls_plain_text_is_allowed_and_certificates_count() {
        let mut offer = offer();
        offer.tls = true;
        offer.external_strength = 256;
        offer.minimum_layer = 128;
        assert_eq!(names(&offer), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN");
        offer.certificate = true;
        assert!(names(&offer).starts_with("EXTERNAL "));
        offer.mechanisms = vec![Mechanism::Login, Mechanism::Plain];
        assert_eq!(names(&offer), "LOGIN PLAIN");
        assert_eq!(
            offer.check(Mechanism::External),
            Err(NotOffered::NoMechanism)
        );
    }

    #[test]
    fn names_are_read_without_case() {
        for mechanism in Mechanism::ALL {
            let name = mechanism.name().to_ascii_lowercase();
            assert_eq!(name.parse::<Mechanism>(), Ok(mechanism));
        }
        assert!("DIGEST-MD5".parse::<Mechanism>().is_err());
    }
}
