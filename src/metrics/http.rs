//! Answers whoever asks for metrics, on a thread of its own.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::text::Source;
use crate::exit::{Failure, OrFail};

/// Clients at a time; more wait.
const CLIENTS: usize = 16;
/// How long a client may take from its connection to its end.
const CLIENT_TIME: Duration = Duration::from_secs(10);
/// How long nobody is let in after that has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens, and answers until the program ends. Gives where it listens.
///
/// # Errors
///
/// Environment, where the address is not to be had.
pub(super) fn serve(address: SocketAddr, source: Source) -> Result<SocketAddr, Failure> {
    let told = format!("cannot serve metrics on {address}");
    let listener = TcpListener::bind(address)
        .or_environment(&told)
        .map_err(|failure| failure.remedy("is the port taken? --metrics 0 takes a free one"))?;
    listener.set_nonblocking(true).or_environment(&told)?;
    let address = listener.local_addr().or_environment(&told)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_environment(&told)?;
    let inside = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener).or_environment(&told)?;
    drop(inside);
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || runtime.block_on(answer(listener, Arc::new(source))))
        .or_environment(&told)?;
    Ok(address)
}

async fn answer(listener: tokio::net::TcpListener, source: Arc<Source>) {
    let room = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return; // it is never closed
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let client = client(stream, Arc::clone(&source));
                tokio::spawn(async move {
                    // Who asks for nothing, or in no HTTP, gets nothing.
                    let _ = tokio::time::timeout(CLIENT_TIME, client).await;
                    drop(place);
                });
            }
            // Out of descriptors, most likely: the run has told of it where it matters.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn client(stream: TcpStream, source: Arc<Source>) -> hyper::Result<()> {
    let respond = service_fn(move |request: Request<Incoming>| {
        let response = respond(&request, &source);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        // Who keeps a connection open keeps others from one.
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), respond)
        .await
}

fn respond(request: &Request<Incoming>, source: &Source) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Ask with GET.\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "Metrics are under /metrics.\n");
    }
    match source.page() {
        Ok(page) => {
            let mut response = plain(StatusCode::OK, page);
            let kind = HeaderValue::from_static(Source::TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
