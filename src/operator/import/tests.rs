use std::io::Read as _;

use super::*;

/// What is read, as flags, keywords, date and text; what is refused as its reason.
fn read_all(messages: impl Iterator<Item = Result<Read, OperatorError>>) -> Vec<String> {
    messages
        .map(|message| match message.unwrap() {
            Read::Message(mut message) => {
                let mut text = String::new();
                message.content.file.read_to_string(&mut text).unwrap();
                assert_eq!(message.content.octets, text.len() as u64);
                let keywords: Vec<&str> = message.keywords.iter().map(FlagName::as_str).collect();
                let date = message.date.map_or(0, |date| date.0);
                format!("{:?} {keywords:?} {date} {text}", message.flags.bits())
            }
            Read::Refused { reason, .. } => reason,
        })
        .collect()
}

fn mbox(text: &str) -> Vec<String> {
    read_all(Mbox::new("box", text.as_bytes()).unwrap())
}

#[test]
fn an_mbox_is_taken_apart() {
    let found = mbox(
        "From a@example.org Fri Jul 14 09:05:00 2023\n\
         Subject: one\nStatus: RO\nX-Status: AF\nX-Keywords: work $Later\n\n\
         body\n\n>From here on\n>>From there\n\
         From nobody\n\n\
         From b@example.org Fri Jul 14 09:05:00 2023 +0200\r\nSubject: two\r\n\r\n\r\n\
         From - Fri Jul 14 09:05:00 +0000 2023\nSubject: three\n\n\
         From the start of a paragraph\nX-Status: D\n",
    );
    assert_eq!(
        found,
        [
            "19 [\"work\", \"$Later\"] 1689325500 Subject: one\r\nStatus: RO\r\nX-Status: AF\r\n\
             X-Keywords: work $Later\r\n\r\nbody\r\n\r\nFrom here on\r\n>From there\r\n\
             From nobody\r\n",
            "0 [] 1689318300 Subject: two\r\n\r\n",
            "0 [] 1689325500 Subject: three\r\n\r\nFrom the start of a paragraph\r\n\
             X-Status: D\r\n",
        ]
    );
}

#[test]
fn an_empty_mbox_has_no_messages() {
    assert!(mbox("").is_empty());
}

#[test]
fn a_file_that_is_no_mbox_is_refused() {
    let error = Mbox::new("box", &b"Subject: x\n\nbody\n"[..])
        .err()
        .unwrap();
    assert_eq!(error.status(), crate::service::exit::DATA);
}

#[test]
fn what_no_mailbox_can_hold_is_refused() {
    let found = mbox(
        "From a Fri Jul 14 09:05:00 2023\n\
         From b Fri Jul 14 09:05:00 2023\nSubject: x\0\n\n\
         From c Fri Jul 99 09:05:00 2023\nSubject: y\n",
    );
    assert_eq!(
        found,
        [
            "it is empty",
            "it holds a NUL octet, which IMAP cannot carry",
            "0 [] 0 Subject: y\r\n",
        ]
    );
}

#[test]
fn a_line_longer_than_what_is_looked_at_stays_whole() {
    let long = "From ".repeat(40_000);
    let found = mbox(&format!(
        "From a Fri Jul 14 09:05:00 2023\n\n\n{long}\nend\n"
    ));
    assert_eq!(
        found,
        [format!("0 [] 1689325500 \r\n\r\n{long}\r\nend\r\n")]
    );
}

#[test]
fn a_maildir_tells_flags_and_dates_by_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for name in [
        "cur",
        "new",
        "tmp",
        ".Sent.2024/cur",
        ".Sent.2024/new",
        ".no",
    ] {
        std::fs::create_dir_all(path.join(name)).unwrap();
    }
    let file = |name: &str, text: &str| std::fs::write(path.join(name), text).unwrap();
    file("cur/1700000002.M1P2.host:2,FRSab", "Subject: b\n\nx");
    file("cur/1700000001.M1P2.host:2,DPT", "Subject: a\r\n\r\nx\r\n");
    file("new/1700000003.M1P2.host", "Subject: c\n");
    file("cur/.hidden", "");
    file("dovecot-keywords", "0 work\nnonsense\n1 $Later\n");
    let folders = folders(path);
    assert_eq!(
        folders,
        [vec![], vec!["Sent".to_owned(), "2024".to_owned()]]
    );
    assert_eq!(
        read_all(Maildir::open(path).unwrap()),
        [
            "12 [\"$Forwarded\"] 1700000001 Subject: a\r\n\r\nx\r\n",
            "19 [\"work\", \"$Later\"] 1700000002 Subject: b\r\n\r\nx",
            "0 [] 1700000003 Subject: c\r\n",
        ]
    );
}

fn folders(path: &Path) -> Vec<Vec<String>> {
    let folders = maildir::folders(path).unwrap();
    folders.into_iter().map(|folder| folder.levels).collect()
}

#[test]
fn a_directory_that_is_no_maildir_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(maildir::folders(directory.path()).is_err());
}
