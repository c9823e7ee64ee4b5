//! The parser as a whole.

use super::*;

fn parse(message: &[u8]) -> ParsedMessage {
    let mut parser = MessageParser::new(&ParserOptions::default());
    parser.feed(message);
    parser.finish()
}

/// The items of a cache record.
fn items(cache: &[u8]) -> Vec<&[u8]> {
    let mut items = Vec::new();
    let mut rest = cache;
    while let Some((word, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*word) as usize;
        items.push(&after[..length]);
        rest = &after[length.next_multiple_of(4)..];
    }
    items
}

/// The message of mailbox-format §14.
const VECTOR: &[u8] = b"From: Ann Bee <ann@Example.ORG>\r\n\
To: bob@example.com\r\n\
Subject: hi\r\n\
Date: Mon, 02 Mar 2026 10:11:12 +0100\r\n\
Message-ID: <m1@example.org>\r\n\
X-Mailer: demo\r\n\
X-Other: no\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/alternative; boundary=b1\r\n\
\r\n\
pre\r\n\
--b1\r\n\
\r\n\
Hello=\r\n\
--b1\r\n\
Content-Type: text/html; charset=utf-8\r\n\
Content-Transfer-Encoding: quoted-printable\r\n\
\r\n\
<p>=C3=A4</p>\r\n\
--b1--\r\n";

#[test]
fn spec_vector() {
    let parsed = parse(VECTOR);
    assert_eq!(parsed.size, 373);
    assert_eq!(
        parsed.guid.to_string(),
        "d5841fdbaa393ac5a7a71db0fbdb2f9ff97a0921"
    );
    assert_eq!(parsed.header_size, 236);
    let dates = parsed.dates(UnixTime(1_772_452_800), &TimeZone::UTC);
    assert_eq!(dates.sent_date, UnixTime(1_772_409_600));
    assert_eq!(dates.gm_time, UnixTime(1_772_442_672));

    let items = items(&parsed.cache);
    let from = "((\"Ann Bee\" NIL \"ann\" \"Example.ORG\"))";
    assert_eq!(
        String::from_utf8_lossy(items[0]),
        format!(
            "(\"Mon, 02 Mar 2026 10:11:12 +0100\" \"hi\" {from} {from} {from} \
             ((NIL NIL \"bob\" \"example.com\")) NIL NIL NIL \"<m1@example.org>\")"
        )
    );
    assert_eq!(
        String::from_utf8_lossy(items[1]),
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 6 0 NIL NIL NIL NIL)\
         (\"TEXT\" \"HTML\" (\"CHARSET\" \"utf-8\") NIL NIL \"QUOTED-PRINTABLE\" 13 0 NIL NIL NIL NIL) \
         \"ALTERNATIVE\" (\"BOUNDARY\" \"b1\") NIL NIL NIL)"
    );
    assert_eq!(
        String::from_utf8_lossy(items[2]),
        "((\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\" 6 0)\
         (\"TEXT\" \"HTML\" (\"CHARSET\" \"utf-8\") NIL NIL \"QUOTED-PRINTABLE\" 13 0) \"ALTERNATIVE\")"
    );
    let section: String = items[3].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        section,
        "0000000300000000000000ec000000ec000000890000ffff0000000000000000000000000000000000000000\
         000000000000000a\
         000000f700000002000000f900000006000c000075732d617363696900000000\
         f5f006cde2dc338991aac7619e3be43d55afbd650000000600000000\
         00000107000000570000015e0000000d000800017574662d38000000\
         f09a82f82ae8c1c031c30d1b324f806767ae2cdf0000000900000000\
         0000000000000000"
    );
    assert_eq!(
        String::from_utf8_lossy(items[4]),
        "X-Mailer: demo\r\nContent-Type: multipart/alternative; boundary=b1\r\n"
    );
    assert_eq!(items[5], b"Ann Bee <ann@example.org>");
    assert_eq!(items[6], b"<bob@example.com>");
    assert_eq!((items[7], items[8]), (&b""[..], &b""[..]));
    assert_eq!(items[9], b"\"hi\"");
    assert_eq!(items.len(), 10);
    assert_eq!(parsed.cache.len(), 904);
    assert_eq!(parsed.cache_crc, 0xE12E_4796);
}

fn item_text(parsed: &ParsedMessage, item: usize) -> String {
    String::from_utf8_lossy(items(&parsed.cache)[item]).into_owned()
}

fn body(message: &str) -> String {
    item_text(&parse(message.as_bytes()), 2)
}

const TEXT_PLAIN: &str = "\"TEXT\" \"PLAIN\" (\"CHARSET\" \"us-ascii\") NIL NIL \"7BIT\"";

#[test]
fn empty_message() {
    let parsed = parse(b"");
    assert_eq!((parsed.size, parsed.header_size), (0, 0));
    assert_eq!(
        item_text(&parsed, 0),
        "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
    );
    assert_eq!(item_text(&parsed, 2), format!("({TEXT_PLAIN} 0 0)"));
    assert_eq!(item_text(&parsed, 9), "NIL");
}

#[test]
fn header_without_a_body() {
    let parsed = parse(b"Subject: x\r\nX-Mailer: y");
    assert_eq!(parsed.header_size, 23);
    assert_eq!(item_text(&parsed, 4), "X-Mailer: y\r\n");
    assert_eq!(item_text(&parsed, 9), "\"x\"");
}

#[test]
fn text_behind_a_nul_in_the_header_does_not_count() {
    let parsed = parse(b"Subject: a\0b\r\nTo: x@y\r\n\r\nbody");
    assert_eq!(parsed.header_size, 10);
    assert_eq!(item_text(&parsed, 6), "");
    assert_eq!(item_text(&parsed, 9), "\"a\"");
    assert_eq!(item_text(&parsed, 2), format!("({TEXT_PLAIN} 4 0)"));
}

#[test]
fn multipart_without_a_boundary_parameter_or_without_parts() {
    assert_eq!(
        body("Content-Type: multipart/mixed\r\n\r\ntext"),
        format!("({TEXT_PLAIN} 0 0)")
    );
    assert_eq!(
        body("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n"),
        format!("({TEXT_PLAIN} 0 0)")
    );
    // Without any boundary line there is one empty part at the end of the message.
    assert_eq!(
        body("Content-Type: multipart/mixed; boundary=b\r\n\r\ntext"),
        format!("(({TEXT_PLAIN} 0 0) \"MIXED\")")
    );
}

#[test]
fn a_part_cut_off_in_its_header() {
    assert_eq!(
        body(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n--b\r\n\
             Content-Type: message/rfc822\r\n--b--\r\n"
        ),
        format!(
            "((\"TEXT\" \"HTML\" NIL NIL NIL \"7BIT\" 0 0)\
             (\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 0 \
             (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ({TEXT_PLAIN} 0 0) 0) \"MIXED\")"
        )
    );
}

#[test]
fn the_boundary_of_an_outer_multipart_separates_parts_of_the_inner_one() {
    let message = "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\
                   Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--a\r\n\r\ntwo\r\n\
                   --b--\r\n--a--\r\n";
    assert_eq!(
        body(message),
        format!("((({TEXT_PLAIN} 3 0)({TEXT_PLAIN} 3 0) \"MIXED\") \"MIXED\")")
    );
}

#[test]
fn parts_of_a_digest_are_messages() {
    let message = "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: s\r\n\r\nhi\r\n--a--\r\n";
    assert_eq!(
        body(message),
        format!(
            "((\"MESSAGE\" \"RFC822\" NIL NIL NIL \"7BIT\" 16 \
             (NIL \"s\" NIL NIL NIL NIL NIL NIL NIL NIL) ({TEXT_PLAIN} 2 0) 2) \"DIGEST\")"
        )
    );
}

#[test]
fn a_nested_message_is_digested_without_the_break_before_the_boundary() {
    let inner = "Subject: s\r\n\r\nhi";
    let message = format!(
        "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\n{inner}\r\n--a--\r\n"
    );
    let parsed = parse(message.as_bytes());
    let mut expected = CountingDigest::new();
    expected.update(inner.as_bytes());
    let section = items(&parsed.cache)[3];
    let guid = *expected.finish().as_bytes();
    assert!(section.windows(Guid::LEN).any(|bytes| bytes == guid));
}

#[test]
fn version_13_nests_global_messages_and_decodes_messages() {
    let options = ParserOptions {
        cache_version: CacheVersion::V13,
        ..ParserOptions::default()
    };
    let mut parser = MessageParser::new(&options);
    parser.feed(b"Content-Type: message/global\r\n\r\nSubject: s\r\n\r\nhi");
    let parsed = parser.finish();
    assert_eq!(parsed.cache_version.number(), 13);
    assert!(item_text(&parsed, 2).contains("(NIL \"s\" NIL"));
    assert!(!body("Content-Type: message/global\r\n\r\nSubject: s\r\n\r\nhi").contains("\"s\""));
}

#[test]
fn boundary_limit_ends_the_parsing() {
    let options = ParserOptions {
        boundary_limit: 1,
        ..ParserOptions::default()
    };
    let mut parser = MessageParser::new(&options);
    parser.feed(VECTOR);
    let parsed = parser.finish();
    assert_eq!(parsed.size, 373);
    assert_eq!(item_text(&parsed, 2), format!("({TEXT_PLAIN} 0 0)"));
}

#[test]
fn the_part_limit_leaves_the_rest_to_the_last_part() {
    let options = ParserOptions {
        limits: Limits {
            parts: 3,
            ..Limits::default()
        },
        ..ParserOptions::default()
    };
    let mut parser = MessageParser::new(&options);
    parser.feed(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    parser.feed(&b"--b\r\n\r\nx\r\n".repeat(5));
    let parsed = parser.finish();
    // The second part takes in "x" and three more boundaries with their parts.
    assert_eq!(
        item_text(&parsed, 2),
        format!("(({TEXT_PLAIN} 1 0)({TEXT_PLAIN} 33 10) \"MIXED\")")
    );
}

#[test]
fn messages_nested_beyond_the_limit_are_opaque() {
    let options = ParserOptions {
        limits: Limits {
            nested_messages: 2,
            ..Limits::default()
        },
        ..ParserOptions::default()
    };
    let mut parser = MessageParser::new(&options);
    parser.feed(&b"Content-Type: message/rfc822\r\n\r\n".repeat(4));
    let body = item_text(&parser.finish(), 2);
    assert_eq!(body.matches("RFC822").count(), 2);
    assert_eq!(body.matches("\"APPLICATION\" \"OCTET-STREAM\"").count(), 1);
}

/// Feeds `pieces` of `piece` and gives the time in seconds and the size of the record.
fn effort(start: &[u8], piece: &[u8], pieces: usize) -> (f64, usize) {
    let begun = std::time::Instant::now();
    let mut parser = MessageParser::new(&ParserOptions::default());
    parser.feed(start);
    let many = piece.repeat(1000);
    for _ in 0..pieces / 1000 {
        parser.feed(&many);
    }
    let cache = parser.finish().cache.len();
    (begun.elapsed().as_secs_f64(), cache)
}

#[test]
fn hostile_messages_stay_within_bounds() {
    const MULTIPART: &[u8] = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    let cases: [(&str, &[u8], &[u8]); 9] = [
        ("parts", MULTIPART, b"--b\r\n"),
        (
            "nested multiparts",
            b"",
            b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n",
        ),
        (
            "nested messages",
            b"",
            b"Content-Type: message/rfc822\r\n\r\n",
        ),
        ("header lines", b"", b"To: a@b\r\n"),
        ("one header line", b"Subject: ", b"=?utf-8?q?a?= "),
        ("addresses", b"To: ", b"a@b,"),
        ("parameters", b"Content-Type: text/plain", b";a*0=b"),
        ("encoded type", b"Content-Type: ", b"=?utf-8?q?a?="),
        ("dashes", MULTIPART, b"--\r\n"),
    ];
    for (what, start, piece) in cases {
        let (seconds, cache) = effort(start, piece, 1_000_000);
        assert!(seconds < 30.0, "{what}: {seconds} s");
        assert!(cache < 64 << 20, "{what}: {cache} bytes");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Pieces that make headers, parts and boundaries likely.
    fn fragment() -> impl Strategy<Value = Vec<u8>> {
        let known: Vec<&'static [u8]> = vec![
            b"\r\n",
            b"\r\n\r\n",
            b"--b\r\n",
            b"\r\n--b\r\n",
            b"\r\n--b--\r\n",
            b"--",
            b"\n",
            b"\r",
            b"\0",
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
            b"Content-Type: multipart/digest; boundary=\"b\"\r\n",
            b"Content-Type: message/rfc822\r\n\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"Content-Disposition: inline; a*0=x; a*1*=%41\r\n",
            b"Content-Language: en, de\r\n",
            b"From: \"a\\\" b\" <@r:x@y.z>, g: c@d;\r\n",
            b"Subject: =?utf-8?q?=C3=A4?= =?big5?b?oUA=?=\r\n ",
            b"Date: Mon, 2 Mar 2026 10:11:12 +0100\r\n",
            b"aGVsbG8=",
            b"=C3=A4=\r\n",
            b" \t(c)",
        ];
        prop_oneof![
            4 => proptest::sample::select(known).prop_map(<[u8]>::to_vec),
            1 => proptest::collection::vec(any::<u8>(), 0..20),
        ]
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(fragment(), 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn chunks_do_not_matter(message in message(), sizes in proptest::collection::vec(1_usize..40, 1..20)) {
            let whole = parse(&message);
            let mut parser = MessageParser::new(&ParserOptions::default());
            let mut rest = message.as_slice();
            let mut sizes = sizes.iter().cycle();
            while !rest.is_empty() {
                let size = *sizes.next().unwrap();
                let (piece, after) = rest.split_at(size.min(rest.len()));
                parser.feed(piece);
                rest = after;
            }
            prop_assert_eq!(&parser.finish(), &whole);
            let mut parser = MessageParser::new(&ParserOptions::default());
            message.chunks(1).for_each(|byte| parser.feed(byte));
            prop_assert_eq!(&parser.finish(), &whole);
        }

        #[test]
        fn any_bytes_give_ten_items(message in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let parsed = parse(&message);
            prop_assert_eq!(items(&parsed.cache).len(), 10);
            prop_assert_eq!(parsed.size, message.len() as u64);
            prop_assert_eq!(parsed.cache_crc, crc32fast::hash(&parsed.cache));
        }
    }
}
