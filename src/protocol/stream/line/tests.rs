use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn answers(unacknowledged: u32, last_acknowledgement: Duration) -> Answers {
    Answers {
        state: [0; 8],
        timing: [0; 4],
        unacknowledged,
        counters: [0; 7],
        last_acknowledgement: u32::try_from(last_acknowledgement.as_millis()).unwrap(),
    }
}

/// What the watch makes of answers that come one second after the other.
fn silences(told: &[(u32, u64)]) -> Vec<u64> {
    let mut watch = Watch::new(LIMIT);
    let mut now = Instant::now();
    let mut look = |(unacknowledged, last): &(u32, u64)| {
        now += Duration::from_secs(1);
        let answers = answers(*unacknowledged, Duration::from_secs(*last));
        watch.silence(answers, now).as_secs()
    };
    told.iter().map(&mut look).collect()
}

#[test]
fn silence_counts_while_something_is_unacknowledged() {
    run(async {
        assert_eq!(silences(&[(2, 0), (2, 1), (3, 2), (3, 3)]), [0, 1, 2, 3]);
    });
}

#[test]
fn an_acknowledgement_ends_the_silence_even_if_more_is_on_its_way() {
    run(async {
        assert_eq!(silences(&[(2, 0), (2, 1), (9, 0), (9, 1)]), [0, 1, 0, 1]);
        assert_eq!(silences(&[(2, 0), (0, 0), (1, 0)]), [0, 0, 0]);
    });
}

/// Nothing was acknowledged for hours because nothing was sent.
#[test]
fn what_is_sent_after_a_long_rest_has_its_full_time() {
    run(async {
        assert_eq!(silences(&[(0, 7000), (1, 7001), (1, 7002)]), [0, 0, 1]);
    });
}

async fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (near, listener.accept().await.unwrap().0)
}

fn settings(timeout: Duration) -> LineSettings {
    LineSettings {
        timeout: Some(timeout),
        keepalive: Some(Keepalive::within(timeout)),
    }
}

/// With TCP_USER_TIMEOUT the kernel would end this connection: the window of the peer is closed for
/// three times the limit.
#[test]
fn a_peer_that_is_busy_is_waited_for() {
    run(async {
        let (near, mut far) = connection().await;
        let limit = Duration::from_millis(500);
        let mut line = Line::new(near, settings(limit)).unwrap();
        const OCTETS: usize = 32 << 20;
        let sending = async {
            line.write_all(&vec![b'x'; OCTETS]).await.unwrap();
            line.read_u8().await.unwrap()
        };
        let busy = async {
            tokio::time::sleep(3 * limit).await;
            let mut taken = vec![0; OCTETS];
            far.read_exact(&mut taken).await.unwrap();
            tokio::time::sleep(3 * limit).await;
            far.write_u8(b'.').await.unwrap();
        };
        assert_eq!(tokio::join!(sending, busy).0, b'.');
    });
}

#[test]
fn the_system_probes_an_idle_connection() {
    run(async {
        let (near, _far) = connection().await;
        let line = Line::new(near, settings(LIMIT)).unwrap();
        let socket = &line.socket;
        assert!(KeepAlive.get(socket).unwrap());
        assert_eq!(TcpKeepIdle.get(socket).unwrap(), 15);
        assert_eq!(TcpKeepInterval.get(socket).unwrap(), 5);
        assert_eq!(TcpKeepCount.get(socket).unwrap(), 3);
    });
}

#[test]
fn nothing_is_changed_where_all_is_left_to_the_system() {
    run(async {
        let (near, _far) = connection().await;
        let system = TcpKeepIdle.get(&near).unwrap();
        let mut line = Line::new(
            near,
            LineSettings {
                timeout: None,
                keepalive: None,
            },
        )
        .unwrap();
        assert!(!KeepAlive.get(&line.socket).unwrap());
        assert!(line.watch.is_none());
        let zero = Keepalive {
            probes: 0,
            idle: Duration::ZERO,
            interval: Duration::ZERO,
        };
        keep_alive(&line.socket, zero).unwrap();
        assert!(KeepAlive.get(&line.socket).unwrap());
        assert_eq!(TcpKeepIdle.get(&line.socket).unwrap(), system);
        line.flush().await.unwrap();
    });
}
