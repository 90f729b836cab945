//! Collections: what is visible, narrowed, ordered, cut to a page and to the members asked for.

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::answer::{self, ApiError, Reply};
use crate::filter::{Filter, Sort};
use crate::query::Query;
use crate::select::Select;

const LIMIT: u64 = 100;
const MOST: u64 = 500;

/// Answers with the page of `items` that the query asks for.
pub(crate) fn answer<T>(
    items: impl Iterator<Item = T>,
    json: impl Fn(T) -> Value,
    query: &Query,
) -> Result<Reply, ApiError> {
    let limit = size(query.number("limit", 1..=MOST, LIMIT)?);
    let offset = size(query.number("offset", 0..=u64::MAX, 0)?);
    let filter = query.one("filter").filter(|text| !text.is_empty());
    let filter = filter.map(Filter::parse).transpose()?.unwrap_or_default();
    let sort = query.one("sort").filter(|text| !text.is_empty());
    let sort = sort.map(Sort::parse).transpose()?.unwrap_or_default();
    let select = Select::of(query)?;
    let (total, page) = if filter.is_empty() && sort.is_empty() {
        plain(items, json, limit, offset)
    } else {
        let mut found: Vec<Value> = items.map(json).filter(|item| filter.admits(item)).collect();
        sort.apply(&mut found);
        (
            found.len(),
            found.into_iter().skip(offset).take(limit).collect(),
        )
    };
    let page: Vec<Value> = page.into_iter().map(|item| select.prune(item)).collect();
    Ok(envelope(total, offset, &page))
}

/// Makes a page without writing the JSON of what is not on it.
fn plain<T>(
    items: impl Iterator<Item = T>,
    json: impl Fn(T) -> Value,
    limit: usize,
    offset: usize,
) -> (usize, Vec<Value>) {
    let end = offset.saturating_add(limit);
    let mut total = 0;
    let mut page = Vec::new();
    for item in items {
        if (offset..end).contains(&total) {
            page.push(json(item));
        }
        total += 1;
    }
    (total, page)
}

fn envelope(total: usize, offset: usize, data: &[Value]) -> Reply {
    #[derive(Serialize)]
    struct Envelope<'a> {
        data: &'a [Value],
        meta: Value,
    }
    let info = json!({ "total": total, "count": data.len(), "offset": offset });
    let meta = json!({ "pagingInfo": info });
    answer::json(StatusCode::OK, &Envelope { data, meta })
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
