//! A client that speaks the protocol and nothing more: it neither leaves nor comes back by itself.
//! Never sends a heartbeat; the tests that use it are shorter than a server's patience.

use futures_util::{SinkExt, StreamExt};
use hidps_local_supabase::Stack;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::DEADLINE;

/// One open socket.
pub(super) struct RawClient(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl RawClient {
    /// Opens a socket with the secret key.
    pub(super) async fn connect(stack: &Stack) -> Self {
        let address = stack.url().replace("http://", "ws://");
        let key = stack.secret_key();
        let url = format!("{address}/realtime/v1/websocket?apikey={key}&vsn=2.0.0");
        Self(connect_async(url).await.expect("the socket opens").0)
    }

    /// Asks to join a channel with changes.
    pub(super) async fn join(&mut self) {
        let filter = json!({"event": "*", "schema": "public", "table": "notes"});
        let config = json!({"postgres_changes": [filter], "presence": {"enabled": false}});
        let frame = json!(["1", "1", "realtime:raw", "phx_join", {"config": config}]);
        let sent = self.0.send(Message::text(frame.to_string())).await;
        sent.expect("the server listens");
    }

    /// Gives the next frame, or none if the server ended the socket.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let message = tokio::time::timeout(DEADLINE, self.0.next())
            .await
            .expect("a frame in time")?;
        match message.expect("the socket is whole") {
            Message::Text(text) => Some(serde_json::from_str(text.as_str()).expect("json")),
            Message::Close(_) => None,
            other @ (Message::Binary(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Frame(_)) => panic!("expected a text frame, got {other:?}"),
        }
    }
}
