//! Comparing what users have beside mailboxes.

use super::facts::Facts;
use super::{Report, Side};
use crate::mail::UserId;
use crate::operator::OperatorError;
use crate::spool::SpoolError;
use crate::spool::cyrusdb::Create;

/// Compares subscriptions, seen state and Sieve scripts.
pub(super) fn compare(
    [a, b]: [&mut Side; 2],
    user: &UserId,
    report: &mut Report<'_>,
) -> Result<(), OperatorError> {
    report.facts(user.as_str(), None, &facts(a, user)?, &facts(b, user)?)
}

fn facts(side: &mut Side, user: &UserId) -> Result<Facts, SpoolError> {
    let Side { store, list } = side;
    let mut facts = Facts::new();
    for name in store.subscriptions(list, user)? {
        let shown = store.namespace().to_admin(&name);
        facts.insert(format!("subscription {shown}"), "yes".to_owned());
    }
    if let Some(mut seen) = store.seen(list, user, Create::No)? {
        for (mailbox, state) in seen.all()? {
            let value = format!(
                "{} (last read {}, last UID {}, last change {})",
                state.seen_uids, state.last_read, state.last_uid, state.last_change
            );
            facts.insert(format!("seen state of {mailbox}"), value);
        }
    }
    if let Some(scripts) = store.scripts(list, user, Create::No)? {
        for script in scripts.scripts()? {
            let state = if script.is_active {
                "active"
            } else {
                "inactive"
            };
            let value = format!("{} {state}", script.content_id);
            facts.insert(format!("Sieve script {}", script.name), value);
        }
    }
    Ok(facts)
}
