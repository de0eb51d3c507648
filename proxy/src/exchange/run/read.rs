//! `decode`: what a request says, in whatever form it came.

use bytes::Bytes;
use http::{HeaderValue, Method, header};

use super::{Exchange, Stop};
use crate::exchange::ports::RequestHead;
use crate::guard::{Block, Cause, Gap};
use crate::json::{Doc, Limits};
use crate::surface::Asks;
use crate::wire::form::Form;

/// A request that was read.
pub(super) struct Posted {
    /// What the facts are read from: the body, the fields of a form, or nothing.
    pub(super) document: Bytes,
    pub(super) doc: Doc,
    pub(super) form: Option<Form>,
}

impl Exchange<'_> {
    pub(super) async fn read(&mut self, head: &RequestHead, body: &Bytes) -> Result<Posted, Stop> {
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_form = kind.get(..19).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data"));
        if self.surface.asks == Asks::Form && is_form {
            let form = Form::read(body.clone(), kind).await.map_err(|error| self.unread(&error))?;
            self.content_type = form.content_type().parse::<HeaderValue>().ok();
            let document = form.document();
            let doc = Doc::parse(&document, Limits::default()).map_err(|error| self.unread(&error))?;
            return Ok(Posted { document, doc, form: Some(form) });
        }
        let bodiless = matches!(head.method, Method::GET | Method::DELETE) || self.surface.asks == Asks::Maybe;
        let document = if body.is_empty() && bodiless { Bytes::from_static(b"{}") } else { body.clone() };
        let doc = Doc::parse(&document, Limits::default()).map_err(|error| self.unread(&error))?;
        Ok(Posted { document, doc, form: None })
    }

    fn unread(&mut self, error: &dyn std::fmt::Display) -> Block {
        self.record.request.report.gaps.insert(Gap::Unreadable);
        let what = if self.surface.asks == Asks::Form { "cannot be read" } else { "is not strict JSON" };
        let reason = format!("the request body {what}: {error}");
        Block { cause: Cause::BadRequest, rule: None, reason, detectors: Vec::new() }
    }
}
