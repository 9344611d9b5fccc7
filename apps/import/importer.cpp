#include "apps/import/importer.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "index/half.h"
#include "net/http_client.h"

namespace jade {
namespace {

using Clock = std::chrono::steady_clock;
namespace json = boost::json;

constexpr auto report_interval = std::chrono::milliseconds(200);
constexpr auto wait_first = std::chrono::milliseconds(50);
constexpr auto wait_most = std::chrono::milliseconds(5000);

bool is_transient(Code code) {
  return code == Code::resource_exhausted || code == Code::unavailable ||
         code == Code::deadline_exceeded;
}

// A line as the server wants it: an object, with an id.
Result<std::string> complete_line(const std::string& line, uint64_t row) {
  auto value = parse_line(line);
  if (!value.ok()) return value.status();
  json::object& object = value->get_object();
  if (object.contains("id")) return line;
  object["id"] = row;
  return json::serialize(*value);
}

// Rows on their way to the server.
struct Batch {
  RowPiece piece;
  std::vector<size_t> rows;  // which of the piece's
};

// A connection to one of the nodes.
struct Sender {
  std::unique_ptr<HttpClient> client;
  size_t url = 0;  // which
};

// Why a request has not been carried out yet: what each node that was asked has said last.
class Reasons {
 public:
  explicit Reasons(const std::vector<std::string>& urls) : urls_(urls), last_(urls.size()) {}

  // `answered`: the node has; else it could not be asked.
  void add(size_t url, Status why, bool answered) {
    last_[url] = {std::move(why), answered, ++added_};
  }
  // An answer tells more than that another node cannot be reached; of several the latest.
  Status best() const {
    auto less = [](const Reason& a, const Reason& b) {
      return std::pair(a.answered, a.when) < std::pair(b.answered, b.when);
    };
    auto best = std::max_element(last_.begin(), last_.end(), less);
    if (urls_.size() == 1) return best->status;
    return best->status.with_context(urls_[static_cast<size_t>(best - last_.begin())]);
  }

 private:
  struct Reason {
    Status status;
    bool answered = false;
    uint64_t when = 0;
  };
  const std::vector<std::string>& urls_;
  std::vector<Reason> last_;
  uint64_t added_ = 0;
};

class Importer {
 public:
  Importer(VectorReader& reader, const ImportOptions& options, const std::atomic<bool>& stop,
           const std::function<void(const std::string&)>& complain)
      : reader_(reader), options_(options), stop_(stop), complain_(complain) {}

  Result<ImportOutcome> run(const std::function<void(const ImportProgress&)>& report) {
    started_ = Clock::now();
    JADE_RETURN_IF_ERROR(check_import(reader_, options_));
    JADE_RETURN_IF_ERROR(reader_.skip(options_.first_row));
    done_below_ = options_.first_row;
    std::vector<std::thread> senders;
    for (uint32_t i = 0; i < options_.connections; ++i)
      senders.emplace_back([this] { send_all(); });
    std::thread feeder([this] { read_all(); });
    {
      std::unique_lock lock(mutex_);
      while (!finished()) {
        changed_.wait_for(lock, report_interval);
        ImportProgress progress = progress_now();
        lock.unlock();
        report(progress);
        lock.lock();
      }
    }
    feeder.join();
    for (std::thread& sender : senders) sender.join();
    report(progress_now());
    // Told to stop while it waited for a busy node: that is no failure.
    bool stopped = stop_.load() && (failure_.ok() || is_transient(failure_.code()));
    if (!failure_.ok() && !stopped) return failure_;
    ImportProgress end = progress_now();
    return ImportOutcome{end.rows,     end.missing,
                         end.bad_rows, end.rows_done,
                         end.seconds,  stopped && !(read_everything_ && failure_.ok())};
  }

  // Where to go on, also after a failure.
  uint64_t done_below() const { return done_below_; }

 private:
  bool finished() const { return (reader_ended_ && queue_.empty() && busy_ == 0); }

  double seconds_now() const {
    return std::chrono::duration<double>(Clock::now() - started_).count();
  }

  ImportProgress progress_now() const {
    return {
        rows_, missing_, bad_rows_, done_below_, bytes_read_, seconds_now(), acknowledged_seconds_};
  }

  void read_all() {
    uint64_t left = options_.rows_max;
    Status status;
    while (left > 0) {
      auto piece =
          reader_.read(std::min<uint64_t>(options_.batch_rows, left), options_.batch_bytes);
      bytes_read_ = reader_.bytes_read();
      if (!piece.ok()) status = piece.status();
      if (!piece.ok() || piece->rows == 0) {
        read_everything_ = piece.ok();
        break;
      }
      left -= piece->rows;
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] {
        return queue_.size() < options_.connections || stop_.load() || !failure_.ok();
      });
      if (stop_.load() || !failure_.ok()) break;
      queue_.push_back(std::move(*piece));
      changed_.notify_all();
      if (left == 0) read_everything_ = true;
    }
    std::lock_guard lock(mutex_);
    if (!status.ok() && failure_.ok()) failure_ = status;
    reader_ended_ = true;
    changed_.notify_all();
  }

  void send_all() {
    Sender sender;
    for (;;) {
      RowPiece piece;
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, report_interval,
                          [this] { return !queue_.empty() || reader_ended_; });
        if (queue_.empty()) {
          if (reader_ended_) return;
          continue;
        }
        piece = std::move(queue_.front());
        queue_.pop_front();
        ++busy_;
        changed_.notify_all();
      }
      uint64_t first = piece.first_row, rows = piece.rows;
      Status status =
          failure_seen() ? unavailable("stopped") : send_piece(sender, std::move(piece));
      std::lock_guard lock(mutex_);
      if (status.ok()) {
        finished_.emplace(first, first + rows);
        for (auto next = finished_.begin(); next != finished_.end() && next->first == done_below_;
             next = finished_.begin()) {
          done_below_ = next->second;
          finished_.erase(next);
        }
      } else if (failure_.ok()) {
        failure_ = status;
      }
      --busy_;
      changed_.notify_all();
    }
  }

  bool failure_seen() {
    std::lock_guard lock(mutex_);
    return !failure_.ok();
  }

  void wait(std::chrono::milliseconds how_long) {
    if (options_.wait) return options_.wait(how_long);
    auto end = Clock::now() + how_long;
    std::unique_lock lock(mutex_);
    // `stop` is set in a signal handler, which cannot tell of it.
    while (!stop_.load() && failure_.ok() && Clock::now() < end) {
      changed_.wait_until(lock, std::min(end, Clock::now() + report_interval));
    }
  }

  Status send_piece(Sender& sender, RowPiece piece) {
    Batch batch;
    for (size_t i = 0; i < piece.rows; ++i) {
      if (!piece.lines.empty()) {
        auto line = complete_line(piece.lines[i], piece.first_row + i);
        if (!line.ok()) {
          JADE_RETURN_IF_ERROR(bad_row(piece, i, line.status().message()));
          continue;
        }
        piece.lines[i] = std::move(*line);
      }
      batch.rows.push_back(i);
    }
    batch.piece = std::move(piece);
    return send(sender, batch);
  }

  // Sends the rows; of those that are refused, finds the bad ones by halves.
  Status send(Sender& sender, const Batch& batch) {
    if (batch.rows.empty()) return {};
    Status status = request(sender, batch);
    if (status.ok()) {
      std::lock_guard lock(mutex_);
      rows_ += batch.rows.size();
      acknowledged_seconds_ = seconds_now();
      return {};
    }
    bool refused = status.code() == Code::invalid_argument || status.code() == Code::too_large ||
                   (options_.update && status.code() == Code::failed_precondition);
    if (!refused) return status;
    if (batch.rows.size() == 1) return bad_row(batch.piece, batch.rows[0], status.message());
    if (!options_.count_bad_rows && status.code() == Code::invalid_argument) {
      return named(batch, status);
    }
    Batch halves[2] = {{batch.piece, {}}, {batch.piece, {}}};
    for (size_t i = 0; i < batch.rows.size(); ++i) {
      halves[i < batch.rows.size() / 2 ? 0 : 1].rows.push_back(batch.rows[i]);
    }
    JADE_RETURN_IF_ERROR(send(sender, halves[0]));
    return send(sender, halves[1]);
  }

  // The server speaks of vectors[i] of the request; people know lines and rows.
  static Status named(const Batch& batch, const Status& status) {
    const std::string& message = status.message();
    size_t index = 0;
    if (std::sscanf(message.c_str(), "vectors[%zu]", &index) != 1 || index >= batch.rows.size()) {
      return status;
    }
    return Status(status.code(), place(batch.piece, batch.rows[index]) + ": " + message);
  }

  static std::string place(const RowPiece& piece, size_t i) {
    return piece.line_numbers.empty() ? "row " + std::to_string(piece.first_row + i)
                                      : "line " + std::to_string(piece.line_numbers[i]);
  }

  Status bad_row(const RowPiece& piece, size_t i, const std::string& why) {
    std::string message = place(piece, i) + ": " + why;
    if (!options_.count_bad_rows) return invalid_argument(message);
    complain_(message);
    std::lock_guard lock(mutex_);
    ++bad_rows_;
    return {};
  }

  std::string body_of(const Batch& batch) const {
    if (!batch.piece.lines.empty()) {
      std::string body = "{\"vectors\":[";
      for (size_t row : batch.rows) {
        if (body.back() != '[') body.push_back(',');
        body += batch.piece.lines[row];
      }
      return body + "]}";
    }
    if (as_json()) return json_body(batch);
    std::vector<VectorId> ids;
    ids.reserve(batch.rows.size());
    for (size_t row : batch.rows) ids.emplace_back(batch.piece.first_row + row);
    std::string some;
    const void* values = batch.piece.values.data();
    if (batch.rows.size() < batch.piece.rows) {
      size_t width = reader_.dimension() * size_bytes(reader_.element_type());
      for (size_t row : batch.rows) some.append(batch.piece.values, row * width, width);
      values = some.data();
    }
    UpsertView view;
    view.ids = ids;
    const NamedView named{options_.vector_name, reader_.element_type(), reader_.dimension(),
                          values};
    if (!options_.vector_name.empty()) {
      view.named = {&named, 1};
      return encode_upsert(view);
    }
    view.type = reader_.element_type();
    view.dimension = reader_.dimension();
    view.values = values;
    return encode_upsert(view);
  }

  bool as_json() const { return options_.json || options_.update; }

  std::string json_body(const Batch& batch) const {
    std::string body = "{\"vectors\":[";
    uint32_t dimension = reader_.dimension();
    const bool named = !options_.vector_name.empty();
    const std::string open =
        named ? "{" + json::serialize(json::value(options_.vector_name)) + ":[" : "[";
    char text[32];
    for (size_t row : batch.rows) {
      if (body.back() != '[') body.push_back(',');
      body += "{\"id\":" + std::to_string(batch.piece.first_row + row) + ",\"values\":" + open;
      for (uint32_t j = 0; j < dimension; ++j) {
        if (j > 0) body.push_back(',');
        auto end = std::to_chars(text, text + sizeof text, value(batch.piece, row * dimension + j));
        body.append(text, end.ptr);
      }
      body += named ? "]}}" : "]}";
    }
    return body + "]}";
  }

  float value(const RowPiece& piece, size_t i) const {
    float single = 0;
    uint16_t half = 0;
    switch (reader_.element_type()) {
      case ElementType::u8: return static_cast<unsigned char>(piece.values[i]);
      case ElementType::f16:
        std::memcpy(&half, piece.values.data() + 2 * i, 2);
        return half_to_float(half);
      case ElementType::f32: std::memcpy(&single, piece.values.data() + 4 * i, 4); break;
    }
    return single;
  }

  // How many ids of an update the answer says are missing.
  Status count_missing(const std::string& body) {
    boost::system::error_code error;
    json::value reply = json::parse(body, error);
    const json::object* object = error ? nullptr : reply.if_object();
    const json::value* missing = object == nullptr ? nullptr : object->if_contains("missing");
    if (missing == nullptr || !missing->is_array()) {
      return corruption("the server does not say which ids are missing");
    }
    std::lock_guard lock(mutex_);
    missing_ += missing->get_array().size();
    return {};
  }

  // So that nobody looks at a bar that stands still: once for all connections.
  void say_that_it_lasts(uint32_t attempt, const Status& last) {
    {
      std::lock_guard lock(mutex_);
      if (attempt < next_said_) return;
      next_said_ = attempt + 10;
    }
    complain_("still trying (" + std::to_string(attempt) + " of " +
              std::to_string(options_.retries_max) + " retries): " + last.message());
  }
  void answered() {
    std::lock_guard lock(mutex_);
    next_said_ = said_first;
  }

  // Of these rows of this import.
  std::string key_of(const Batch& batch) const {
    if (options_.request_prefix.empty()) return "";
    return options_.request_prefix + "-" +
           std::to_string(batch.piece.first_row + batch.rows.front()) + "-" +
           std::to_string(batch.rows.size());
  }

  // The next node, after one that has not answered.
  void pass_over(Sender& sender) {
    sender.client.reset();
    sender.url = (sender.url + 1) % urls_.size();
  }

  // One request, again while the server is busy or away: its key says that it is the same.
  Status request(Sender& sender, const Batch& batch) {
    std::string body = body_of(batch);
    const std::string key = key_of(batch);
    bool binary = batch.piece.lines.empty() && !as_json();
    const std::string path = "/v1/databases/" + options_.database + "/vectors";
    Reasons reasons(urls_);
    auto patience = wait_first;
    std::chrono::milliseconds asked{0};
    for (uint32_t attempt = 0; attempt <= options_.retries_max; ++attempt) {
      if (attempt > 0) {
        say_that_it_lasts(attempt, reasons.best());
        if (!stop_.load()) wait(asked.count() > 0 ? std::min(asked, wait_most) : patience);
        if (stop_.load() || failure_seen()) return reasons.best();
        if (asked.count() == 0) patience = std::min(2 * patience, wait_most);
        asked = {};
      }
      if (!sender.client) {
        auto connected =
            connect_to_node(urls_[sender.url], {}, urls_.size() > 1 ? options_.patience_ms : 0);
        if (!connected.ok()) {
          if (!is_transient(connected.status().code())) return connected.status();
          reasons.add(sender.url, connected.status(), false);
          pass_over(sender);
          continue;
        }
        sender.client = std::move(*connected);
      }
      auto response = sender.client->request("POST", options_.update ? path + "/update" : path,
                                             body, binary ? content_type_binary : content_type_json,
                                             content_type_json, key);
      Status last = response.ok() ? check_response(*response) : response.status();
      if (!last.ok()) reasons.add(sender.url, last, response.ok());
      if (!response.ok()) {
        pass_over(sender);
      } else {
        asked = std::chrono::seconds(response->retry_after_s);
        if (last.ok()) answered();
        if (last.ok() && options_.update) return count_missing(response->body);
        // One that is busy is there; with 503 it may be another's to answer.
        if (last.code() == Code::unavailable && urls_.size() > 1) pass_over(sender);
      }
      if (last.ok() || !is_transient(last.code())) return last;
    }
    return reasons.best().with_context("gave up after " + std::to_string(options_.retries_max) +
                                       " retries");
  }

  VectorReader& reader_;
  const ImportOptions& options_;
  const std::vector<std::string> urls_ = split_urls(options_.url);
  const std::atomic<bool>& stop_;
  const std::function<void(const std::string&)>& complain_;
  Clock::time_point started_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<RowPiece> queue_;
  size_t busy_ = 0;
  bool reader_ended_ = false;
  std::atomic<bool> read_everything_{false};
  std::atomic<uint64_t> bytes_read_{0};
  static constexpr uint32_t said_first = 6;  // after some 3 s
  uint32_t next_said_ = said_first;          // at which retry to say that one request lasts
  uint64_t rows_ = 0;
  double acknowledged_seconds_ = 0;
  uint64_t missing_ = 0;
  uint64_t bad_rows_ = 0;
  uint64_t done_below_ = 0;
  std::map<uint64_t, uint64_t> finished_;  // pieces done beyond done_below_
  Status failure_;
};

}  // namespace

Status check_import(const VectorReader& reader, const ImportOptions& options) {
  if (options.vector_name.empty() || reader.dimension() != 0) return {};
  return invalid_argument(
      "lines of NDJSON name their vectors themselves: as \"values\" give "
      "an object, and no name for all");
}

Result<json::value> parse_line(const std::string& line) {
  boost::system::error_code error;
  json::value value = json::parse(line, error);
  if (error) return invalid_argument("is not JSON: " + error.message());
  if (!value.is_object()) return invalid_argument("is not a JSON object");
  return value;
}

Result<ImportOutcome> run_import(VectorReader& reader, const ImportOptions& options,
                                 const std::atomic<bool>& stop,
                                 const std::function<void(const ImportProgress&)>& report,
                                 const std::function<void(const std::string&)>& complain) {
  return Importer(reader, options, stop, complain).run(report);
}

}  // namespace jade
