use proptest::prelude::*;

use super::*;
use crate::dlist::{FieldError, FieldProblem, Limits, LiteralStyle, Parser};
use crate::mail::Uid;
use crate::protocol::reply::Refusal;

/// Reads one line in pieces of `piece` octets.
fn read_line(input: &[u8], piece: usize) -> DecodedLine {
    let limits = Limits::default();
    let mut sink = NoFiles;
    let mut decoder = LineDecoder::new(&limits, &mut sink);
    let mut parser = Parser::line(limits.clone());
    let mut result = None;
    let mut consumed = 0;
    for part in input.chunks(piece) {
        let fed = parser.feed(part, &mut decoder);
        consumed += fed.consumed;
        result = fed.result;
    }
    assert_eq!(consumed, input.len());
    result.expect("a complete line").expect("well-formed");
    decoder.finish().unwrap()
}

fn request(text: &str) -> Result<Request, DecodeError> {
    let (verb, rest) = text.split_once(' ').unwrap();
    let verb = match verb {
        "GET" => Verb::Get,
        "APPLY" => Verb::Apply,
        "RESTORE" => Verb::Restore,
        other => panic!("{other}"),
    };
    let input = format!("{rest}\r\n");
    let decoded = Request::decode(verb, read_line(input.as_bytes(), input.len()));
    assert_eq!(
        decoded,
        Request::decode(verb, read_line(input.as_bytes(), 1))
    );
    decoded
}

fn answer(text: &str) -> Result<Answer, DecodeError> {
    let input = format!("{}\r\n", text.strip_prefix("* ").unwrap());
    let decoded = Answer::decode(read_line(input.as_bytes(), input.len()));
    assert_eq!(decoded, Answer::decode(read_line(input.as_bytes(), 3)));
    decoded
}

fn printed(request: &Request) -> String {
    let mut out = Vec::new();
    match request {
        Request::Get(get) => get.write(&mut out, LiteralStyle::Plus),
        Request::Apply(apply) => apply.write(&mut out, LiteralStyle::Plus),
        Request::Restore(restore) => restore.write(&mut out, LiteralStyle::Plus),
        Request::Message(files) => panic!("{files:?}"),
    }
    String::from_utf8(out).unwrap()
}

fn printed_answer(answer: &Answer) -> String {
    let mut out = Vec::new();
    answer.write(&mut out, LiteralStyle::Plain);
    String::from_utf8(out).unwrap()
}

/// The requests shown in commands, as the real client writes them, as far as they are complete.
#[test]
fn requests_are_printed_as_they_were_read() {
    for text in include_str!("tests/requests.txt").split("\n\n") {
        let text = text.trim_end_matches('\n').replace('\n', "\r\n");
        let request = request(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(printed(&request), format!("{text}\r\n"));
    }
}

/// The data lines shown in commands, as the real server writes them.
#[test]
fn answers_are_printed_as_they_were_read() {
    for text in include_str!("tests/answers.txt").split("\n\n") {
        let text = text.trim_end_matches('\n').replace('\n', "\r\n");
        let answer = answer(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(printed_answer(&answer), format!("{text}\r\n"));
    }
}

fn update(text: &str) -> MailboxUpdate {
    match request(text).unwrap() {
        Request::Apply(Apply::Mailbox(_, MailboxArgument::Update(update))) => *update,
        other => panic!("{other:?}"),
    }
}

const MAILBOX: &str = "UNIQUEID 54lxoc7sbxiyqaap5r8c1wsm MBOXNAME user.alice LAST_UID 4 \
    HIGHESTMODSEQ 7 RECENTUID 4 RECENTTIME 1795331298 LAST_APPENDDATE 1795331269 \
    POP3_LAST_LOGIN 0 UIDVALIDITY 1795331196 PARTITION default ACL \"\" OPTIONS P";

const RECORD: &str = "UID 3 MODSEQ 9 LAST_UPDATED 1795331299 FLAGS (\\Deleted) \
    INTERNALDATE 1795331196 SIZE 135 GUID 1ae080792178b2746bd2303275613f69b2a43730";

fn apply(records: &str) -> Result<Request, DecodeError> {
    request(&format!("APPLY MAILBOX %({MAILBOX} RECORD ({records}))"))
}

#[test]
fn keys_may_be_missing_only_where_the_table_says_so() {
    let text = format!("APPLY MAILBOX %({MAILBOX} RECORD ())");
    let item = update(&text).item;
    assert_eq!(item.crc, crate::mail::SyncCrc::UNKNOWN);
    assert_eq!(item.since, None);
    for pair in [
        "UNIQUEID 54lxoc7sbxiyqaap5r8c1wsm",
        "MBOXNAME user.alice",
        "LAST_UID 4",
        "HIGHESTMODSEQ 7",
        "RECENTUID 4",
        "RECENTTIME 1795331298",
        "LAST_APPENDDATE 1795331269",
        "POP3_LAST_LOGIN 0",
        "UIDVALIDITY 1795331196",
        "PARTITION default",
        "ACL \"\"",
        "OPTIONS P",
        "RECORD ()",
    ] {
        let key = pair.split(' ').next().unwrap();
        let error = request(&text.replace(pair, "")).unwrap_err();
        assert_eq!(
            error,
            FieldError::new(key, FieldProblem::Missing).into(),
            "{pair}"
        );
        assert_eq!(error.refusal(), Refusal::BadParameters);
        let error = request(&text.replace(pair, &format!("{key} NIL"))).unwrap_err();
        assert_eq!(error, FieldError::new(key, FieldProblem::Nil).into());
    }
    let unknown = text.replace(
        "RECORD",
        "NEWKEY (RECORD (x) %(UID 1)) SYNC_CRC 7 SYNC_CRC 8 RECORD",
    );
    assert_eq!(update(&unknown).item.crc.basic, 7);
}

#[test]
fn a_client_needs_fewer_keys() {
    let text = format!("* MAILBOX %({MAILBOX})")
        .replace("LAST_APPENDDATE 1795331269 ", "")
        .replace("PARTITION default", "PARTITION NIL");
    match answer(&text).unwrap() {
        Answer::Mailbox(mailbox) => {
            assert_eq!(mailbox.records, None);
            assert_eq!(mailbox.item.partition, None);
            let mut out = Vec::new();
            mailbox.item.write(&mut out, LiteralStyle::Plus);
            let value = crate::dlist::parse_value(&out).unwrap();
            assert_eq!(
                MailboxItem::from_fields(value.fields().unwrap()).unwrap(),
                mailbox.item
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn newer_keys_survive() {
    let text = format!(
        "APPLY MAILBOX %(JMAPID j1 {} RECORD ())",
        MAILBOX
            .replace(
                "UIDVALIDITY",
                "POP3_SHOW_AFTER 9 XCONVMODSEQ 1 COMPACT_EMAILIDS 1 RACLMODSEQ 2 USERGROUPS \
                 \"a\tb\" VERSION 20 UIDVALIDITY"
            )
            .replace("LAST_UID", "SYNC_CRC 5 LAST_UID")
            .replace(
                "OPTIONS P",
                "OPTIONS P DELETEDMODSEQ 4 USERFLAGS (a $b) SINCE_MODSEQ 3 SINCE_CRC 1 \
                 SINCE_CRC_ANNOT 2"
            )
    );
    assert_eq!(
        printed(&request(&text).unwrap()),
        format!("{}\r\n", text.replace("  ", " "))
    );
}

#[test]
fn records_lacking_a_key_are_protocol_errors() {
    for pair in [
        "UID 3",
        "MODSEQ 9",
        "LAST_UPDATED 1795331299",
        "FLAGS (\\Deleted)",
        "INTERNALDATE 1795331196",
        "SIZE 135",
        "GUID 1ae080792178b2746bd2303275613f69b2a43730",
    ] {
        let error = apply(&format!("%({})", RECORD.replacen(pair, "", 1))).unwrap_err();
        let key = pair.split(' ').next().unwrap();
        assert!(
            matches!(
                &error,
                DecodeError::Record {
                    problem: RecordProblem::Field {
                        key: found,
                        problem: FieldProblem::Missing
                    },
                    ..
                } if *found == key
            ),
            "{pair}: {error:?}"
        );
        assert_eq!(error.refusal(), Refusal::ProtocolError);
    }
    for bad in ["x", "(a (b))", "NIL", "%()", "%(UID x MODSEQ 1)"] {
        assert_eq!(apply(bad).unwrap_err().refusal(), Refusal::ProtocolError);
    }
    let error = apply(&format!("%({RECORD} ANNOTATIONS (%(ENTRY /x)))")).unwrap_err();
    assert_eq!(error.refusal(), Refusal::BadParameters);
    assert_eq!(
        error.to_string(),
        "element 0 of RECORD (UID 3): annotation, key USERID: is missing"
    );
}

const COMPACT: &str = "3 9 1795331299 1795331196 135 \
    1ae080792178b2746bd2303275613f69b2a43730 5659312467281093893 1795331190 4";

fn apply_compact(records: &str) -> Result<MailboxUpdate, DecodeError> {
    match request(&format!("APPLY MAILBOX %({MAILBOX} X-RECORDS ({records}))"))? {
        Request::Apply(Apply::Mailbox(_, MailboxArgument::Update(update))) => Ok(*update),
        other => panic!("{other:?}"),
    }
}

#[test]
fn compact_records_say_the_same_as_pairs() {
    let pairs = RECORD.replace("(\\Deleted)", "(\\Deleted \\EXPUNGED $Label 7)");
    let text = format!(
        "APPLY MAILBOX %({MAILBOX} RECORD (%({pairs} ANNOTATIONS (\
         %(ENTRY /comment USERID alice MODSEQ 8 VALUE \"\") %(ENTRY /x USERID \"\" MODSEQ 0 VALUE NIL) \
         %(ENTRY {THREAD_ENTRY} USERID \"\" MODSEQ 0 VALUE 4e89eab4653aa505) \
         %(ENTRY {SAVE_DATE_ENTRY} USERID \"\" MODSEQ 0 VALUE 1795331190) \
         %(ENTRY {CREATED_MODSEQ_ENTRY} USERID \"\" MODSEQ 0 VALUE 4)))))"
    );
    let compact = format!(
        "({COMPACT} \\Deleted (/comment alice 8 \"\") \\EXPUNGED $Label (/x \"\" 0 NIL) 7 %(LATER x))"
    );
    assert_eq!(apply_compact(&compact).unwrap(), update(&text));
    // The first list counts, whatever its form.
    let both = format!("{MAILBOX} X-RECORDS ({compact}) RECORD (x)");
    assert_eq!(update(&format!("APPLY MAILBOX %({both})")), update(&text));
    let both = text.replace("RECORD (%", "RECORD () X-RECORDS (%");
    assert_eq!(update(&both).list, RecordList::default());
}

#[test]
fn compact_records_that_lack_a_value_are_protocol_errors() {
    let values: Vec<&str> = COMPACT.split_ascii_whitespace().collect();
    for place in 0..values.len() {
        let too_few = values[..place].join(" ");
        for bad in ["NIL", "x", "-1", "\"\"", "\\5", "%(a 1)", "(/x \"\" 0 v)"] {
            let mut with_bad = values.clone();
            with_bad[place] = bad;
            for record in [&too_few, &with_bad.join(" ")] {
                let error = apply_compact(&format!("({record})")).unwrap_err();
                assert_eq!(error.refusal(), Refusal::ProtocolError, "{record}: {error}");
            }
        }
    }
    for bad in [
        "x",
        "NIL",
        "()",
        &format!("%({RECORD})"),
        &format!("({COMPACT}) ({COMPACT})"),
    ] {
        let error = apply_compact(bad).unwrap_err();
        assert_eq!(error.refusal(), Refusal::ProtocolError, "{bad}: {error}");
    }
    for annotation in [
        "()",
        "(/x \"\")",
        "(/x \"\" 0)",
        "(/x \"\" y z)",
        "(/x (\"\") 0 v)",
    ] {
        let error = apply_compact(&format!("({COMPACT} {annotation})")).unwrap_err();
        assert_eq!(
            error.refusal(),
            Refusal::BadParameters,
            "{annotation}: {error}"
        );
    }
    let error = apply_compact("(3 9 1795331299 1795331196 135 x)").unwrap_err();
    assert_eq!(
        error.to_string(),
        "element 0 of RECORD (UID 3): key GUID: is not a GUID"
    );
    let flags: Vec<_> = (0..129).map(|number| format!("f{number}")).collect();
    let error = apply_compact(&format!("({COMPACT} {})", flags.join(" "))).unwrap_err();
    assert_eq!(error.refusal(), Refusal::Unknown);
}

#[test]
fn records_must_ascend() {
    let second = RECORD.replace("UID 3", "UID 4");
    assert!(apply(&format!("%({RECORD}) %({second})")).is_ok());
    for (first, second) in [
        (RECORD, RECORD),
        (second.as_str(), RECORD),
        (&RECORD.replace("UID 3", "UID 0"), RECORD),
    ] {
        let error = apply(&format!("%({first}) %({second})")).unwrap_err();
        assert!(
            matches!(
                error,
                DecodeError::Record {
                    problem: RecordProblem::NotAscending { .. },
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn odd_records_are_read_like_the_original_does() {
    let odd = "%(SIZE 5 GUID 1AE080792178B2746BD2303275613F69B2A43730 X (a %(UID 9)) UID \"3\" \
        UID 4 FLAGS (\\sEEN \\Unknown Junk \"\\\\Draft\" jUNK \\EXPUNGED (x)) MODSEQ 1 \
        INTERNALDATE 4294967297 LAST_UPDATED 0 FLAGS (x) ANNOTATIONS NIL)";
    match apply(odd).unwrap() {
        Request::Apply(Apply::Mailbox(_, MailboxArgument::Update(update))) => {
            let record = &update.list.records[0];
            assert_eq!(record.uid, Uid(3));
            assert_eq!(
                record.system_flags,
                crate::mail::SystemFlags::SEEN | crate::mail::SystemFlags::DRAFT
            );
            assert!(record.expunged);
            assert_eq!(record.internal_date.0, 1);
            assert_eq!(record.user_flags, UserFlags::from_iter([0]));
            assert_eq!(update.list.flags.names()[0].as_str(), "Junk");
            assert_eq!(update.list.flags.names().len(), 1);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_list_has_at_most_128_user_flags() {
    let flags = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("f{number}")).collect();
        RECORD.replace("\\Deleted", &names.join(" "))
    };
    assert!(apply(&format!("%({})", flags(128))).is_ok());
    let error = apply(&format!("%({})", flags(129))).unwrap_err();
    assert_eq!(error.refusal(), Refusal::Unknown);
}

#[test]
fn records_without_a_list() {
    for key in ["RECORD", "X-RECORDS"] {
        let with = |records: &str| request(&format!("APPLY MAILBOX %({MAILBOX} {key} {records})"));
        assert!(with("x").is_ok());
        for bad in ["NIL", "%(UID 1 X (%(a b)))"] {
            assert_eq!(with(bad).unwrap_err().refusal(), Refusal::BadParameters);
        }
    }
    let restore = request("RESTORE MAILBOX %(MBOXNAME user.a)");
    assert_eq!(restore.unwrap_err().refusal(), Refusal::BadParameters);
}

/// What crashes the original is refused instead (wire-protocol §11).
#[test]
fn nil_where_text_is_needed() {
    let seen = "APPLY SEEN %(USERID bob UNIQUEID 54lxoc7sbxiyqaap5r8c1wsm LASTREAD 1 LASTUID 4 \
        LASTCHANGE 1 SEENUIDS NIL)";
    assert_eq!(request(seen).unwrap_err().refusal(), Refusal::BadParameters);
    let mailbox = format!("APPLY MAILBOX %({MAILBOX} MBOXTYPE q RECORD ())");
    assert_eq!(
        request(&mailbox).unwrap_err().refusal(),
        Refusal::BadParameters
    );
}

#[test]
fn nil_is_an_empty_annotation_value() {
    let element = "%(ENTRY /comment USERID \"\" MODSEQ 0 VALUE NIL)";
    let text = format!(
        "APPLY MAILBOX %({MAILBOX} ANNOTATIONS ({element}) RECORD (%({RECORD} ANNOTATIONS ({element}))))"
    );
    let update = update(&text);
    assert_eq!(update.item.annotations[0].value, b"");
    assert_eq!(update.list.records[0].annotations[0].value, b"");
    assert!(
        request("APPLY ANNOTATION %(MBOXNAME \"\" ENTRY /comment USERID \"\" VALUE NIL)").is_ok()
    );
}

#[test]
fn names_that_nothing_can_have_do_not_exist() {
    assert_eq!(
        request("GET MAILBOXES (user.a user..b {3+}\r\na\0b NIL user.c)").unwrap(),
        Request::Get(Get::Mailboxes(
            ["user.a", "user.c"]
                .map(|name| MailboxName::parse(name).unwrap())
                .to_vec()
        ))
    );
    assert_eq!(
        request("GET MAILBOXES user.a").unwrap(),
        Request::Get(Get::Mailboxes(vec![]))
    );
    assert_eq!(
        request("GET USER a/b").unwrap(),
        Request::Get(Get::User(None))
    );
    assert_eq!(
        request("GET USER NIL").unwrap(),
        Request::Get(Get::User(None))
    );
    assert_eq!(
        request("APPLY UNUSER \"\"").unwrap(),
        Request::Apply(Apply::Unuser(Scope::Everywhere, None))
    );
    for text in [
        "GET FULLMAILBOX a/b",
        "APPLY UNMAILBOX user..a",
        "APPLY RENAME %(OLDMBOXNAME a/b NEWMBOXNAME user.a PARTITION default)",
    ] {
        assert_eq!(
            request(text).unwrap_err().refusal(),
            Refusal::MailboxNonexistent,
            "{text}"
        );
    }
    let rename = "APPLY RENAME %(OLDMBOXNAME user.a NEWMBOXNAME a/b PARTITION default)";
    assert_eq!(request(rename).unwrap_err().refusal(), Refusal::Unknown);
}

#[test]
fn unknown_commands_are_protocol_errors() {
    for text in [
        "GET NOTHING x",
        "APPLY LOCAL_SEEN x",
        "APPLY LOCAL_LOCAL_MAILBOX %()",
        "RESTORE USER x",
        "GET MESSAGE ()",
    ] {
        assert_eq!(
            request(text).unwrap_err().refusal(),
            Refusal::ProtocolError,
            "{text}"
        );
    }
    assert!(matches!(
        answer("* NEWS x").unwrap_err(),
        DecodeError::UnknownAnswer(_)
    ));
    assert_eq!(
        request("APPLY reserve %(PARTITION default MBOXNAME () GUID (12))")
            .unwrap_err()
            .refusal(),
        Refusal::BadParameters
    );
}

#[test]
fn quota_names_of_all_versions() {
    let newer = "* QUOTA %(ROOT user.carol LIMIT 1000 STORAGE 1000 MESSAGE 50 \
        ANNOTATION-STORAGE 70 X-ANNOTATION-STORAGE 70 MAILBOX 9 X-NUM-FOLDERS 9 MODSEQ 77)";
    let older = "* QUOTA %(ROOT user.carol LIMIT 1000 STORAGE 1000 MESSAGE 50 \
        X-ANNOTATION-STORAGE 70 X-NUM-FOLDERS 9 MODSEQ 77)\r\n";
    assert_eq!(printed_answer(&answer(newer).unwrap()), older);
    match request("APPLY QUOTA %(ROOT user.a LIMIT 5 MESSAGE 4294967295)").unwrap() {
        Request::Apply(Apply::Quota(quota)) => {
            assert_eq!(quota.storage, Some(5));
            assert_eq!(quota.messages, None);
            assert_eq!(quota.modseq, None);
        }
        other => panic!("{other:?}"),
    }
}

/// Keeps the files of a line.
#[derive(Default)]
struct Kept(Vec<(crate::dlist::FileHeader, Vec<u8>, bool)>);

impl FileSink for Kept {
    type Error = &'static str;

    fn begin(&mut self, file: &crate::dlist::FileHeader) -> Result<(), &'static str> {
        if file.partition == "full" {
            return Err("full");
        }
        self.0.push((file.clone(), Vec::new(), false));
        Ok(())
    }

    fn chunk(&mut self, octets: &[u8]) -> Result<(), &'static str> {
        let file = self.0.last_mut().ok_or("no file")?;
        file.1.extend_from_slice(octets);
        Ok(())
    }

    fn end(&mut self) -> Result<(), &'static str> {
        self.0.last_mut().ok_or("no file")?.2 = true;
        Ok(())
    }
}

fn files_of(input: &str) -> (Result<DecodedLine, &'static str>, Kept) {
    let limits = Limits::default();
    let mut sink = Kept::default();
    let mut decoder = LineDecoder::new(&limits, &mut sink);
    let mut parser = Parser::line(limits.clone());
    let fed = parser.feed(input.as_bytes(), &mut decoder);
    assert_eq!(fed.consumed, input.len());
    fed.result.unwrap().unwrap();
    (decoder.finish(), sink)
}

#[test]
fn only_message_lines_bring_files() {
    let guid = "53a4fa8a78d952cca2a23d5c59ed1536d64540f5";
    let files = format!("(%{{default {guid} 3}}\r\nabc x NIL %{{default {guid} 0}}\r\n)");
    let (line, kept) = files_of(&format!("message {files}\r\n"));
    let Request::Message(headers) = Request::decode(Verb::Apply, line.unwrap()).unwrap() else {
        panic!("no MESSAGE");
    };
    assert_eq!(headers.len(), 2);
    assert_eq!(kept.0.len(), 2);
    assert_eq!(kept.0[0].1, b"abc");
    assert!(kept.0.iter().all(|file| file.2));
    for line in [
        format!("USER {files}\r\n"),
        format!("MAILBOX %(RECORD {files})\r\n"),
        format!("MAILBOX %(RECORD %{{default {guid} 3}}\r\nabc X {files})\r\n"),
    ] {
        let (line, kept) = files_of(&line);
        assert!(line.is_ok());
        assert!(kept.0.is_empty());
    }
}

#[test]
fn a_file_that_is_refused_ends_the_command_but_not_the_line() {
    let guid = "53a4fa8a78d952cca2a23d5c59ed1536d64540f5";
    let (line, kept) = files_of(&format!(
        "MESSAGE (%{{a {guid} 3}}\r\nabc %{{full {guid} 4}}\r\n)\r\n) %{{a {guid} 1}}\r\nx)\r\n"
    ));
    assert_eq!(line, Err("full"));
    assert_eq!(kept.0.len(), 1);
}

fn any_record() -> impl Strategy<Value = (Record, Vec<String>)> {
    let numbers = (any::<u64>(), any::<[u32; 5]>(), any::<[u64; 2]>());
    let annotation = ("/[a-z]{1,9}", "[a-z]{0,3}", any::<u32>(), any::<Vec<u8>>());
    (
        numbers,
        any::<[u8; 20]>(),
        0_u32..32,
        any::<bool>(),
        proptest::collection::vec("[$A-Za-z]{1,4}", 0..6),
        proptest::collection::vec(annotation, 0..3),
    )
        .prop_map(|(numbers, guid, system, expunged, flags, annotations)| {
            let (modseq, small, large) = numbers;
            let mut annotations: Vec<_> = annotations
                .into_iter()
                .map(|(entry, user, modseq, value)| crate::mail::Annotation {
                    entry,
                    user,
                    modseq: u64::from(modseq).into(),
                    value,
                })
                .collect();
            annotations.sort_by(|a, b| (&a.entry, &a.user).cmp(&(&b.entry, &b.user)));
            let record = Record {
                uid: Uid(0),
                modseq: modseq.into(),
                last_updated: small[0].into(),
                system_flags: crate::mail::SystemFlags::from_bits_retain(system),
                expunged,
                user_flags: UserFlags::default(),
                internal_date: small[1].into(),
                size: small[2],
                guid: crate::mail::Guid::from_bytes(guid),
                thread: large[0].into(),
                save_date: small[3].into(),
                created_modseq: large[1].into(),
                annotations: annotations.into(),
            };
            (record, flags)
        })
}

/// Writes a list with a mailbox around it and reads it again in pieces of `piece` octets.
fn over_the_wire(list: &RecordList, form: RecordForm, piece: usize) -> RecordList {
    let item = update(&format!("APPLY MAILBOX %({MAILBOX} RECORD ())")).item;
    let mut out = b"MAILBOX ".to_vec();
    let mut writer = MailboxWriter::begin(&mut out, &item, form, LiteralStyle::Plus);
    for record in &list.records {
        writer.record(&mut out, record, &list.flags);
    }
    writer.end(&mut out);
    out.extend_from_slice(b"\r\n");
    let line = read_line(&out, piece);
    match Request::decode(Verb::Apply, line).unwrap() {
        Request::Apply(Apply::Mailbox(_, MailboxArgument::Update(read))) => {
            assert_eq!(read.item, item);
            read.list
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn records_survive_the_wire_in_either_form(
        records in proptest::collection::vec(any_record(), 0..8),
        piece in 1_usize..200,
    ) {
        let mut list = RecordList::default();
        for (index, (mut record, flags)) in records.into_iter().enumerate() {
            record.uid = Uid(u32::try_from(index).unwrap() * 3 + 1);
            for flag in flags {
                // "NIL" is no flag.
                if let Ok(Some(number)) = list.flags.number(&flag) {
                    record.user_flags.insert(number);
                }
            }
            list.records.push(record);
        }
        let records = over_the_wire(&list, RecordForm::Pairs, piece);
        prop_assert_eq!(records.records.len(), list.records.len());
        for (read, written) in records.records.iter().zip(&list.records) {
            let names = |list: &RecordList, record: &Record| {
                let mut names: Vec<_> =
                    list.flags.of(record.user_flags).map(ToString::to_string).collect();
                names.sort();
                names
            };
            prop_assert_eq!(names(&records, read), names(&list, written));
            let mut read = read.clone();
            read.user_flags = written.user_flags;
            prop_assert_eq!(&read, written);
        }
        prop_assert_eq!(over_the_wire(&list, RecordForm::Compact, piece), records);
    }

    #[test]
    fn arbitrary_fields_never_panic(
        name in "(LOCAL_)?(MAILBOX|RESERVE|SEEN|QUOTA|RENAME|EXPUNGE|SUB|SIEVE|ANNOTATION|FETCH)",
        text in "[%() A-Z0-9{}\"\\\\]{0,80}",
    ) {
        let input = format!("{name} %(UNIQUEID aa MBOXNAME a {text}\r\n");
        let limits = Limits::default();
        let mut sink = NoFiles;
        let mut decoder = LineDecoder::new(&limits, &mut sink);
        let fed = Parser::line(limits.clone()).feed(input.as_bytes(), &mut decoder);
        if fed.result == Some(Ok(())) {
            let line = decoder.finish().unwrap();
            for verb in [Verb::Get, Verb::Apply, Verb::Restore] {
                let _ = Request::decode(verb, line.clone());
            }
            let _ = Answer::decode(line);
        }
    }
}
