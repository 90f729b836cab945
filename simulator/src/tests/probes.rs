use super::*;
use crate::Protocols;

#[tokio::test]
async fn the_echo_shows_what_arrived_and_sets_a_cookie() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let target = "/api/v3/_test/echo?a=[%41]&b";
    let answer = ask("PUT", target)
        .bearer(&access)
        .header("X-Two", "1")
        .header("Cookie", "a=b")
        .header("X-Two", "2")
        .body("text/plain", "hello")
        .send(&simulator)
        .await;
    let body = answer.json();
    assert_eq!(body["subject"], serde_json::json!(seed::SERVICE.uid));
    assert_eq!(
        (&body["method"], &body["target"]),
        (&"PUT".into(), &target.into())
    );
    assert_eq!(body["body_len"], 5);
    assert_eq!(
        body["body_sha256"],
        "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert!(
        answer.headers["set-cookie"]
            .to_str()
            .unwrap()
            .starts_with("x-authorization=")
    );
    assert_eq!(simulator.state().cookies, 1);
    let seen = simulator.requests().pop().unwrap();
    assert_eq!(seen.target, target);
    assert_eq!(seen.header_values("x-two").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(
        (seen.body.as_slice(), seen.body_length, seen.body_complete),
        (&b"hello"[..], 5, true)
    );
    assert_eq!((seen.authorization_headers, seen.status), (1, Some(200)));
    assert_eq!(seen.subject, Some(seed::SERVICE.uid));
    assert_eq!(
        (seen.version.as_str(), seen.operation),
        ("HTTP/1.1", "/_test/echo")
    );
}

#[tokio::test]
async fn bytes_are_streamed_with_and_without_a_length() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let send = async |query: &str| {
        let target = format!("/api/v3/_test/bytes?{query}");
        get(&target).bearer(&access).send(&simulator).await
    };
    let told = send("size=100000&chunk=1000").await;
    assert_eq!(
        (told.body.len(), &told.headers["content-length"]),
        (100_000, &"100000".parse().unwrap())
    );
    let chunked = send("size=100000&chunk=999&chunked=true").await;
    assert_eq!(chunked.body.len(), 100_000);
    assert_eq!(chunked.headers["transfer-encoding"], "chunked");
    assert_eq!(&chunked.body[..3], [0, 1, 2]);
}

#[tokio::test]
async fn the_sink_takes_everything() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let ask = ask("POST", "/api/v3/_test/sink").bearer(&access);
    let answer = ask
        .body("text/plain", vec![b'x'; 3_000_000])
        .send(&simulator)
        .await;
    assert_eq!(answer.json()["received"], 3_000_000);
    let seen = simulator.requests().pop().unwrap();
    assert_eq!((seen.body_length, seen.body.len()), (3_000_000, 65_536));
}

#[tokio::test]
async fn any_status_can_be_asked_for() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let send = async |query: &str| {
        let target = format!("/api/v3/_test/status?{query}");
        get(&target).bearer(&access).send(&simulator).await
    };
    send("code=520").await.error(520);
    send("code=409").await.error(409);
    let accepted = send("code=202").await;
    assert_eq!((accepted.status.as_u16(), accepted.body.len()), (202, 0));
    let location = accepted.headers["location"].to_str().unwrap();
    assert!(location.starts_with("https://vspc.internal.example:1280/api/v3/asyncActions/"));
    assert_eq!(
        send("code=302&location=/elsewhere").await.headers["location"],
        "/elsewhere"
    );
    send("code=100").await.error(400);
}

#[tokio::test]
async fn headers_for_the_next_hop_can_be_asked_for() {
    let simulator = start().await;
    let access = service(&simulator).await.access;
    let answer = get("/api/v3/_test/hop")
        .bearer(&access)
        .send(&simulator)
        .await;
    assert_eq!(answer.headers["connection"], "X-Hop");
    assert_eq!(answer.headers["x-hop"], "1");
    assert_eq!(answer.headers["keep-alive"], "timeout=5");
}

#[tokio::test]
async fn only_the_last_requests_are_kept_but_all_are_counted() {
    let simulator = switched(|switches| switches.keep_requests = 2).await;
    for _ in 0..3 {
        get("/x").send(&simulator).await;
    }
    let kept: Vec<u64> = simulator.requests().iter().map(|seen| seen.seq).collect();
    assert_eq!((kept, simulator.state().requests), (vec![2, 3], 3));
    let none = switched(|switches| switches.keep_requests = 0).await;
    get("/x").send(&none).await;
    assert_eq!((none.requests().len(), none.state().requests), (0, 1));
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge_unless_switched_off() {
    for (protocols, works) in [
        (Protocols::Both, true),
        (Protocols::Http2, true),
        (Protocols::Http1, false),
    ] {
        let simulator = switched(|switches| switches.protocols = protocols).await;
        let stream = TcpStream::connect(simulator.addr()).await.unwrap();
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method("HEAD")
            .uri("http://simulator/x?y");
        let sent = sender
            .send_request(request.body(Full::<Bytes>::default()).unwrap())
            .await;
        assert_eq!(sent.is_ok(), works, "{protocols:?}");
        if let Ok(response) = sent {
            assert_eq!(response.headers()["content-length"], "16");
            assert_eq!(
                response
                    .into_body()
                    .collect()
                    .await
                    .unwrap()
                    .to_bytes()
                    .len(),
                0
            );
            let seen = simulator.requests().pop().unwrap();
            assert_eq!(
                (seen.version.as_str(), seen.target.as_str()),
                ("HTTP/2.0", "/x?y")
            );
        }
    }
}
