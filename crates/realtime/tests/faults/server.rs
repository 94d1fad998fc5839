//! A Realtime server that does what a test tells it, one connection at a time.
//! Never does anything by itself, not even answer a heartbeat.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hidps_realtime::{Backoff, Channel, Config, Event, Subscription};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);
/// Id the server gives to the one change filter.
pub(crate) const ID: u64 = 77;
/// Topic of the one channel.
const TOPIC: &str = "realtime:feed";

/// The listening side.
pub(crate) struct ScriptedServer {
    listener: TcpListener,
}

/// One accepted connection.
pub(crate) struct Peer {
    socket: WebSocketStream<TcpStream>,
}

impl ScriptedServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        Self { listener }
    }

    /// Describes a subscription to this server with deadlines of a test.
    pub(crate) fn config(&self) -> Config {
        let address = self.listener.local_addr().expect("the server listens");
        let channel = Channel::new("feed")
            .broadcast()
            .changes("public", "desired_generations");
        let mut config = Config::new(format!("http://{address}"), "sb_secret_x", channel);
        // Long enough for a busy machine, short enough for the tests that wait for them.
        config.heartbeat_interval = Duration::from_millis(100);
        config.reply_deadline = Duration::from_secs(1);
        config.system_ok_deadline = Duration::from_secs(1);
        config.connect_deadline = Duration::from_secs(1);
        let brief = Duration::from_millis(10);
        config.backoff = Backoff {
            base: brief,
            cap: brief,
            slow: brief * 20,
            hopeless: brief * 20,
        };
        config
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        Subscription::new(self.config()).expect("the configuration is right")
    }

    /// Accepts a connection and its upgrade.
    pub(crate) async fn accept(&self) -> Peer {
        let (tcp, _) = self.listener.accept().await.expect("a client connects");
        let socket = tokio_tungstenite::accept_async(tcp)
            .await
            .expect("the client upgrades");
        Peer { socket }
    }

    /// Accepts a connection and answers the upgrade with an HTTP status.
    pub(crate) async fn refuse(&self, status: &str) {
        let (mut tcp, _) = self.listener.accept().await.expect("a client connects");
        let mut request = [0; 2048];
        let n_read = tcp.read(&mut request).await.expect("the client asks");
        assert!(n_read > 0);
        let body = r#"{"error":"because sb_secret_x"}"#;
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        tcp.write_all(answer.as_bytes())
            .await
            .expect("the client listens");
    }

    /// Accepts a connection and says nothing on it.
    pub(crate) async fn ignore(&self) -> TcpStream {
        self.listener.accept().await.expect("a client connects").0
    }

    /// Accepts a connection, confirms its join and its changes.
    pub(crate) async fn serve(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.take_join().await;
        peer.confirm_join().await;
        peer.confirm_changes().await;
        peer
    }
}

impl Peer {
    /// Takes the next frame that is no heartbeat.
    pub(crate) async fn take(&mut self) -> Value {
        loop {
            let frame = self.take_any().await;
            if frame[3] != "heartbeat" {
                return frame;
            }
        }
    }

    /// Takes the next frame.
    pub(crate) async fn take_any(&mut self) -> Value {
        let message = self
            .socket
            .next()
            .await
            .expect("the client stays")
            .expect("a frame");
        serde_json::from_str(message.to_text().expect("a text frame")).expect("json")
    }

    /// Takes frames up to a pong and gives its content.
    pub(crate) async fn take_pong(&mut self) -> Vec<u8> {
        loop {
            let message = self
                .socket
                .next()
                .await
                .expect("the client stays")
                .expect("a frame");
            if let Message::Pong(content) = message {
                return content.to_vec();
            }
        }
    }

    /// Takes the join and gives its payload.
    pub(crate) async fn take_join(&mut self) -> Value {
        let mut frame = self.take().await;
        assert_eq!(frame[3], "phx_join");
        frame[4].take()
    }

    pub(crate) async fn confirm_join(&mut self) {
        let response = json!({ "postgres_changes": [{ "id": ID }] });
        self.push("phx_reply", json!({ "status": "ok", "response": response }))
            .await;
    }

    pub(crate) async fn refuse_join(&mut self, reason: &str) {
        let response = json!({ "reason": reason });
        self.push(
            "phx_reply",
            json!({ "status": "error", "response": response }),
        )
        .await;
    }

    pub(crate) async fn confirm_changes(&mut self) {
        self.push(
            "system",
            json!({ "status": "ok", "extension": "postgres_changes" }),
        )
        .await;
    }

    /// Sends a frame on the channel.
    pub(crate) async fn push(&mut self, event: &str, payload: Value) {
        self.send(Message::text(
            json!(["1", "1", TOPIC, event, payload]).to_string(),
        ))
        .await;
    }

    /// Answers a heartbeat.
    pub(crate) async fn answer(&mut self, heartbeat: &Value) {
        let payload = json!({ "status": "ok", "response": {} });
        let frame = json!([null, heartbeat[1], "phoenix", "phx_reply", payload]);
        self.send(Message::text(frame.to_string())).await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("the client stays");
    }

    /// Closes with a code.
    pub(crate) async fn close(&mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.send(Message::Close(Some(frame))).await;
    }

    /// Resets the connection, as a dying host does.
    pub(crate) fn reset(self) {
        let tcp = self.socket.into_inner();
        // Zero seconds of lingering make the close a reset.
        tcp.set_zero_linger().expect("the option exists");
    }
}

/// Waits for the next event.
pub(crate) async fn next(subscription: &mut Subscription) -> Event {
    tokio::time::timeout(DEADLINE, subscription.next())
        .await
        .expect("an event in time")
}

/// Connects a subscription until it is ready.
pub(crate) async fn ready(server: &ScriptedServer) -> (Subscription, Peer) {
    let mut subscription = server.subscribe();
    let peer = reconnect(server, &mut subscription).await;
    (subscription, peer)
}

/// Serves a subscription until it is ready (again).
pub(crate) async fn reconnect(server: &ScriptedServer, subscription: &mut Subscription) -> Peer {
    let (event, peer) = tokio::join!(next(subscription), server.serve());
    assert!(matches!(event, Event::Ready), "{event:?}");
    peer
}
