#include "actors/cluster_middleman.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <caf/io/all.hpp>
#include <caf/io/basp_broker.hpp>
#include <caf/io/middleman_actor_impl.hpp>
#include <caf/io/network/acceptor_impl.hpp>
#include <caf/io/network/default_multiplexer.hpp>
#include <caf/io/network/stream_impl.hpp>
#include <caf/policy/tcp.hpp>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "actors/errors.h"
#include "actors/inflow.h"
#include "actors/message_reader.h"
#include "actors/scheduler.h"
#include "actors/tls_listener.h"

namespace jade {

// What the actor, which CAF owns, and the connections need.
struct ClusterMiddleman::Shared {
  Shared(std::shared_ptr<const ClusterTls> own, LogSink log, const Bounds& own_bounds)
      : tls(std::move(own)), bounds(own_bounds), refusals(std::move(log)) {}

  // Counts a connection from there for as long as what it returns lives; null: too many are
  // up already. Only in the thread of the multiplexer; the end of one is for any thread.
  std::shared_ptr<const void> enter(const std::string& address) {
    auto& of_address = guests[address];
    if (!of_address) of_address = std::make_shared<char>();
    // One of those who hold it is this.
    if (static_cast<size_t>(of_address.use_count()) > bounds.connections_from_one_max) return {};
    return of_address;
  }

  std::shared_ptr<const ClusterTls> tls;  // null: in the clear
  Bounds bounds;
  // Those that others have opened, by their address.
  std::map<std::string, std::shared_ptr<const char>> guests;
  RefusalLog refusals;
  std::unique_ptr<TlsListener> listener;  // with TLS; after refusals, which it uses
};

namespace {

namespace basp = caf::io::basp;
using caf::io::network::native_socket;
using caf::io::network::operation;
using caf::io::network::rw_state;
using Multiplexer = caf::io::network::default_multiplexer;
using SharedPtr = std::shared_ptr<ClusterMiddleman::Shared>;

// Of the peer's answer to a connection and to the handshake: the peer actor gives up
// on a dial after 5 s.
constexpr std::chrono::milliseconds dial_limit(2000);
// Then other connections and reading get their turn.
constexpr size_t write_bytes_max = 256u << 10;
// A longer message is read in pieces of so much, so that a peer gets memory for what it
// has sent, not for what it says that it will send.
constexpr size_t read_piece_bytes = 4u << 20;
// Taken from a socket at once, in the clear.
constexpr size_t input_bytes = 64u << 10;
// Of what CAF's connections tell each other, the reason for which an actor has ended say.
constexpr size_t notice_bytes_max = 64u << 10;
// Of messages that this thread may carry to where they go: a search, or what it found.
constexpr size_t brief_bytes_max = 64u << 10;
constexpr size_t message_bytes_max = ClusterMiddleman::message_bytes_max;
// A key is good for a few hundred GiB.
constexpr uint64_t key_bytes_max = uint64_t{64} << 30;

// What a connection and its scribe know of each other.
struct Link {
  bool refused = false;  // nothing more is to be read
  bool broken = false;   // writing has failed
};
using LinkPtr = std::shared_ptr<Link>;

// Reads and writes for CAF's streams; only in the thread of the multiplexer.
class SocketPolicy {
 public:
  // `session`: null for a connection in the clear.
  SocketPolicy(SslPtr session, std::string remote, SharedPtr shared, LinkPtr link)
      : session_(std::move(session)),
        remote_(std::move(remote)),
        shared_(std::move(shared)),
        link_(std::move(link)) {
    // A record in one call of the system instead of two.
    if (session_) SSL_set_read_ahead(session_.get(), 1);
    if (!session_) input_.resize(input_bytes);
  }

  // CAF asks for a header, for what follows it, and then once more. The system is asked for
  // all that there is, and not again when that was all.
  rw_state read_some(size_t& result, native_socket socket, void* to, size_t size) {
    result = 0;
    if (link_->refused) return rw_state::failure;
    if (size == 0) return rw_state::indeterminate;
    if (session_) return read_tls(result, to, size);
    if (taken_ == arrived_) {
      if (std::exchange(drained_, false)) return rw_state::success;
      bool large = size >= input_.size();
      ssize_t got = recv(socket, large ? to : input_.data(), large ? size : input_.size(), 0);
      if (got <= 0) return got < 0 && is_later() ? rw_state::success : rw_state::failure;
      if (large) {
        result = static_cast<size_t>(got);
        return rw_state::success;
      }
      taken_ = 0;
      arrived_ = static_cast<size_t>(got);
      drained_ = arrived_ < input_.size();
    }
    result = std::min(size, arrived_ - taken_);
    std::memcpy(to, input_.data() + taken_, result);
    taken_ += result;
    return rw_state::success;
  }

  rw_state write_some(size_t& result, native_socket socket, const void* from, size_t size) {
    result = 0;
    if (size == 0) return rw_state::indeterminate;
    rw_state state =
        session_ ? write_tls(result, from, size) : write_plain(result, socket, from, size);
    link_->broken = state == rw_state::failure;
    return state;
  }

  // Whether what was already taken from the socket is enough to go on with: of that the
  // loop is not told.
  bool must_read_more(native_socket, size_t) {
    return session_ ? SSL_has_pending(session_.get()) == 1 : taken_ < arrived_;
  }

 private:
  static bool is_later() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

  rw_state read_tls(size_t& result, void* to, size_t size) {
    ERR_clear_error();
    int got = SSL_read(session_.get(), to, static_cast<int>(std::min<size_t>(size, INT_MAX)));
    if (got <= 0) return failed_or_later(got);
    result = static_cast<size_t>(got);
    return rw_state::success;
  }

  rw_state write_plain(size_t& result, native_socket socket, const void* from, size_t size) {
    ssize_t put = send(socket, from, std::min(size, write_bytes_max), MSG_NOSIGNAL);
    if (put < 0) return is_later() ? rw_state::success : rw_state::failure;
    result = static_cast<size_t>(put);
    return rw_state::success;
  }

  // OpenSSL writes a record at a time, CAF calls once for each turn of its loop.
  rw_state write_tls(size_t& result, const void* from, size_t size) {
    size_t end = std::min(size, write_bytes_max);
    while (result < end) {
      ERR_clear_error();
      int put = SSL_write(session_.get(), static_cast<const char*>(from) + result,
                          static_cast<int>(end - result));
      if (put <= 0) return failed_or_later(put);
      result += static_cast<size_t>(put);
      renew_key(static_cast<size_t>(put));
    }
    return rw_state::success;
  }

  rw_state failed_or_later(int result) {
    switch (SSL_get_error(session_.get(), result)) {
      case SSL_ERROR_WANT_READ:
      case SSL_ERROR_WANT_WRITE: return rw_state::success;
      case SSL_ERROR_SSL:
        shared_->refusals.say("lost the connection with " + remote_,
                              handshake_failure(session_.get()), tls_clock_ms());
        return rw_state::failure;
      default: return rw_state::failure;
    }
  }

  void renew_key(size_t written) {
    key_bytes_ += written;
    if (key_bytes_ < key_bytes_max) return;
    key_bytes_ = 0;
    SSL_key_update(session_.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
  }

  SslPtr session_;
  std::string remote_;
  SharedPtr shared_;
  LinkPtr link_;
  uint64_t key_bytes_ = 0;  // written with the present key
  // In the clear: what has arrived and was not taken yet.
  std::vector<char> input_;
  size_t taken_ = 0, arrived_ = 0;
  bool drained_ = false;  // the socket had no more than that
};

class Stream : public caf::io::network::stream_impl<SocketPolicy> {
 public:
  using stream_impl::stream_impl;

  void begin(caf::io::network::stream_manager* reader) {
    reading_ = true;
    activate(reader);
  }
  // Writes what there is, before the loop is told that something is to be written: mostly nothing
  // is left then, which saves two calls of the system and a turn of the loop. `link`: that of the
  // policy.
  void write_now(const manager_ptr& writer, const Link& link) {
    if (state_.writing) return;  // the loop is at it, and takes this too
    flush(writer);
    if (!state_.writing) return;  // there is nothing
    handle_event(operation::write);
    // The loop has never heard of it, and will not let go of the writer, which holds this.
    if (!state_.writing || link.broken) stream_impl::removed_from_loop(operation::write);
  }
  // Until CAF's loop has let go of it, which it does at the end of a turn.
  bool is_reading() const { return reading_; }
  // Begun and ended in one turn: the loop has never heard of it, and will not let go of the reader,
  // which holds this.
  void forget_unheard_reading() {
    if (reading_ && (eventbf() & caf::io::network::input_mask) == 0) {
      removed_from_loop(operation::read);
    }
  }
  void removed_from_loop(operation ended) override {
    if (ended == operation::read) reading_ = false;
    stream_impl::removed_from_loop(ended);  // last: it may have been the last that held this
  }

 private:
  bool reading_ = false;
};

// A connection, as CAF wants to have it.
class Scribe : public caf::io::scribe {
 public:
  // `guest`: counts it, where the other side has opened it.
  Scribe(Multiplexer& multiplexer, TlsConnection connection, const SharedPtr& shared,
         std::shared_ptr<const void> guest = nullptr)
      : Scribe(multiplexer, connection.socket.release(), std::move(connection), shared) {
    guest_ = std::move(guest);
  }
  ~Scribe() override { *self_ = nullptr; }

  void configure_read(caf::io::receive_policy::config config) override {
    awaited_ = config.second;
    if (awaited_ > message_bytes_max) {
      refuse("it announced a message of " + std::to_string(awaited_) + " bytes; at most " +
             std::to_string(message_bytes_max) + " are allowed");
    }
    await_piece(std::min(awaited_, read_piece_bytes));
    if (std::exchange(launched_, true)) return;
    stream_.begin(this);
    await_greeting();
  }
  bool consume(caf::execution_unit* context, const void* data, size_t size) override {
    if (awaited_ <= read_piece_bytes) return scribe::consume(context, data, size) && !rest();
    const auto* bytes = static_cast<const char*>(data);
    arrived_.insert(arrived_.end(), bytes, bytes + size);
    if (arrived_.size() < awaited_) {
      await_piece(std::min(awaited_ - arrived_.size(), read_piece_bytes));
      return true;
    }
    whole_ = true;
    bool goes_on = scribe::consume(context, arrived_.data(), arrived_.size());
    whole_ = false;
    std::vector<char>().swap(arrived_);  // gives its memory back
    return goes_on && !rest();
  }
  void ack_writes(bool enable) override { stream_.ack_writes(enable); }
  std::vector<char>& wr_buf() override { return stream_.wr_buf(); }
  std::vector<char>& rd_buf() override { return whole_ ? arrived_ : stream_.rd_buf(); }
  void flush() override {
    size_t unsent = stream_.wr_buf().size();
    if (unsent > shared_->bounds.unsent_bytes_max && !link_->refused) {
      refuse(std::to_string(unsent) + " bytes wait for it to take them");
      // CAF then finds that it is over, and tells all.
      shutdown(stream_.fd(), SHUT_RDWR);
    }
    if (link_->refused) stream_.wr_buf().clear();
    if (!std::exchange(flushing_, true)) turn_end_write();
  }
  void graceful_shutdown() override {
    caf::intrusive_ptr<Scribe> self(this);  // of which the broker's may be the last
    // First, as the broker may be at its end already: told of a write that fails then, it would
    // end once more.
    detach(&stream_.backend(), false);
    if (flushing_) write();
    stream_.graceful_shutdown();
    stream_.forget_unheard_reading();
  }
  void add_to_loop() override { stream_.begin(this); }
  void remove_from_loop() override { stream_.passivate(); }
  const std::shared_ptr<Inflow>& inflow() const { return inflow_; }
  void write_now() {
    if (!detached()) write();
  }
  // Nothing more of the other side counts.
  void refuse(const std::string& why) {
    link_->refused = true;
    shared_->refusals.say("lost the connection with " + remote_, why, tls_clock_ms());
  }
  std::string addr() const override {
    auto address = caf::io::network::remote_addr_of_fd(stream_.fd());
    return address ? *address : "";
  }
  uint16_t port() const override {
    auto found = caf::io::network::remote_port_of_fd(stream_.fd());
    return found ? *found : uint16_t{0};
  }

 private:
  // The stream closes `socket`.
  Scribe(Multiplexer& multiplexer, int socket, TlsConnection&& connection, const SharedPtr& shared)
      : scribe(caf::io::network::conn_hdl_from_socket(socket)),
        remote_(std::move(connection.remote)),
        shared_(shared),
        inflow_(std::make_shared<Inflow>([&multiplexer, self = self_] {
          multiplexer.post([self] {
            if (*self != nullptr) (*self)->go_on();
          });
        })),
        stream_(multiplexer, socket, std::move(connection.session), remote_, shared, link_) {}

  void write() {
    flushing_ = false;
    stream_.write_now(this, *link_);
  }
  // CAF awaits exactly so many bytes: of a header or, as that says, of what follows it.
  void await_piece(size_t bytes) {
    stream_.configure_read(caf::io::receive_policy::exactly(bytes));
  }

  // Whether to read no more for now: until go_on(), too much of what came waits here.
  bool rest() {
    resting_ = inflow_->pause();
    if (resting_) {
      shared_->refusals.say("reading slower from " + remote_,
                            "it sends faster than this node works: more than " +
                                std::to_string(Inflow::waiting_bytes_max >> 20) +
                                " MiB of that wait here",
                            tls_clock_ms());
    }
    return resting_;
  }
  void go_on() {
    if (detached()) return;
    // Told before the loop has let go of it, which would be all that comes of it.
    if (stream_.is_reading()) return later(&Scribe::go_on);
    resting_ = false;
    stream_.begin(this);
    later(&Scribe::read_on);
  }
  // What was taken from the socket before: of that the loop does not tell.
  void read_on() {
    if (stream_.is_reading() && !resting_) stream_.handle_event(operation::read);
  }
  // At the end of the broker's turn, so that one call of the system has all that it made.
  void turn_end_write();
  void await_greeting();
  void later(void (Scribe::*what)()) {
    stream_.backend().post([self = self_, what] {
      if (*self != nullptr) ((*self)->*what)();
    });
  }

  std::string remote_;
  SharedPtr shared_;
  std::shared_ptr<const void> guest_;
  LinkPtr link_ = std::make_shared<Link>();
  // Null once this is gone. Of the multiplexer's thread, as all here but for inflow_.
  std::shared_ptr<Scribe*> self_ = std::make_shared<Scribe*>(this);
  std::shared_ptr<Inflow> inflow_;
  bool resting_ = false;
  bool launched_ = false;
  bool flushing_ = false;
  size_t awaited_ = 0;         // bytes
  std::vector<char> arrived_;  // of a message that comes in pieces
  bool whole_ = false;         // it is there
  Stream stream_;
};

using GreetingDue = caf::atom_constant<caf::atom("GreetDue")>;

// CAF's protocol between nodes, but what comes for an actor counts until that has worked on it.
class Broker : public caf::io::basp_broker {
 public:
  using basp_broker::basp_broker;

  // Before anything is sent to it. `unit` may go after its end: it ends in a turn, and whoever
  // sends to an actor that has not ended its turn does not ask for another.
  void run_by(caf::execution_unit& unit) { unit_ = &unit; }

  void enqueue(caf::mailbox_element_ptr element, caf::execution_unit*) override {
    scheduled_actor::enqueue(std::move(element), unit_);
  }

  resume_result resume(caf::execution_unit* context, size_t messages_max) override {
    in_turn_ = true;
    auto result = basp_broker::resume(context, messages_max);
    in_turn_ = false;
    for (auto& scribe : std::exchange(unsent_, {})) {
      if (*scribe != nullptr) (*scribe)->write_now();
    }
    return result;
  }
  // Whether what this scribe has is written at the end of the turn.
  bool write_later(const std::shared_ptr<Scribe*>& scribe) {
    if (in_turn_) unsent_.push_back(scribe);
    return in_turn_;
  }

  // Whoever is at the other end says by then who it is, or is let go.
  void await_greeting(caf::io::connection_handle connection, std::chrono::milliseconds limit) {
    strangers_[connection] = ++connections_;
    // From nobody: CAF keeps what comes for a broker that has ended, and that would keep the
    // broker.
    caf::actor_clock& clock = system().clock();
    clock.schedule_message(
        clock.now() + limit, caf::strong_actor_ptr(ctrl()),
        caf::make_mailbox_element(nullptr, caf::make_message_id(), caf::no_stages,
                                  GreetingDue::value, connection, connections_));
  }

  caf::behavior make_behavior() override {
    caf::message_handler own = {
        [this](caf::io::new_data_msg& data) { receive(data); },
        [this](GreetingDue, caf::io::connection_handle connection, uint64_t number) {
          auto stranger = strangers_.find(connection);
          // It may be another's handle by now.
          if (stranger == strangers_.end() || stranger->second != number) return;
          strangers_.erase(stranger);
          auto scribe = by_id(connection);
          if (!scribe) return;
          dynamic_cast<Scribe&>(*scribe).refuse("it has not said who it is");
          let_go(connection, caf::sec::disconnect_during_handshake);
        }};
    return own.or_else(basp_broker::make_behavior());
  }

 private:
  // As CAF's own does.
  void receive(caf::io::new_data_msg& data) {
    set_context(data.handle);
    caf::io::basp::endpoint_context& connection = *this_context;
    basp::connection_state next = handle(data, connection);
    if (basp::requires_shutdown(next)) return let_go(data.handle, basp::to_sec(next));
    // It has been understood.
    if (connection.cstate == basp::await_payload) strangers_.erase(data.handle);
    if (next == connection.cstate) return;
    connection.cstate = next;
    configure_read(data.handle, caf::io::receive_policy::exactly(next == basp::await_payload
                                                                     ? connection.hdr.payload_len
                                                                     : basp::header_size));
  }

  void let_go(caf::io::connection_handle connection, caf::sec why) {
    connection_cleanup(connection, why);
    close(connection);
  }

  basp::connection_state handle(caf::io::new_data_msg& data, basp::endpoint_context& connection) {
    bool whole = connection.cstate == basp::await_payload;
    bool counted = whole && data.buf.size() == connection.hdr.payload_len;
    switch (connection.hdr.operation) {
      case basp::message_type::direct_message:
        if (!counted) break;
        return deliver(data, connection) ? basp::await_header : basp::malformed_basp_message;
      case basp::message_type::routed_message:
        // Nodes speak with each other directly, and pass on nothing.
        if (whole) return basp::no_route_to_receiving_node;
        break;
      default:
        if (whole && !is_sane(data, connection.hdr)) return basp::malformed_basp_message;
        break;
    }
    if (!whole && !has_content(data)) return basp::malformed_basp_message;
    return instance.handle(context(), data, connection.hdr, whole);
  }

  // Of a header: whether that what it announces has the content without which CAF would read what
  // is not there.
  bool has_content(const caf::io::new_data_msg& data) {
    basp::header header;
    caf::binary_deserializer reader(context(), data.buf);
    if (reader(header)) return false;
    if (header.payload_len > 0 || header.operation == basp::message_type::heartbeat) return true;
    scribe_of(data).refuse("it sent a message without content");
    return false;
  }

  // What CAF reads itself: who it is, and that actors have ended.
  bool is_sane(const caf::io::new_data_msg& data, const basp::header& header) {
    std::string why;
    if (data.buf.size() > notice_bytes_max) {
      why = "it sent a notice of " + std::to_string(data.buf.size()) + " bytes; at most " +
            std::to_string(notice_bytes_max) + " are allowed";
    } else if (header.operation == basp::message_type::down_message) {
      caf::node_id from, to;
      caf::error reason;
      MessageReader reader(context(), data.buf);
      (void)reader(from, to, reason);
      if (!reader.refusal().empty()) why = "it sent a reason with " + reader.refusal();
    }
    if (why.empty()) return true;
    scribe_of(data).refuse(why);
    return false;
  }

  Scribe& scribe_of(const caf::io::new_data_msg& data) {
    return dynamic_cast<Scribe&>(*by_id(data.handle));
  }

  // As CAF's remote_message_handler does, but with bounds. False: the sender cannot be
  // listened to any more.
  bool deliver(const caf::io::new_data_msg& data, const basp::endpoint_context& connection) {
    const basp::header& header = connection.hdr;
    caf::actor_registry& registry = system().registry();
    caf::strong_actor_ptr to = header.has(basp::header::named_receiver_flag)
                                   ? registry.get(static_cast<caf::atom_value>(header.dest_actor))
                                   : registry.get(header.dest_actor);
    caf::message_id id = caf::make_message_id(header.operation_data);
    if (!to && !id.is_request()) return true;
    auto sender_node = instance.tbl().lookup_direct(data.handle);
    // Two nodes that dial each other at the same moment have two connections, of which CAF answers
    // by one alone. When that ends it answers by none; let go of, they dial anew.
    if (!sender_node || !instance.tbl().lookup_direct(sender_node)) return false;
    instance.proxies().set_last_hop(&sender_node);
    auto from = instance.proxies().get_or_put(sender_node, header.source_actor);
    if (!to) {
      caf::detail::sync_request_bouncer{caf::exit_reason::remote_link_unreachable}(from, id);
      return true;
    }
    std::vector<caf::strong_actor_ptr> stages;
    caf::message message;
    MessageReader reader(context(), data.buf);
    Scribe& connected = scribe_of(data);
    auto error = reader(stages, message);
    if (!reader.refusal().empty()) {
      connected.refuse("it sent a message with " + reader.refusal());
      return false;
    }
    if (error) return true;  // of a type that this node does not know
    if (is_internal(id, message)) {
      connected.refuse("it sent a message that nodes do not send each other");
      return false;
    }
    if (is_link(message)) {
      change_link(message, to->get());
      return true;
    }
    auto element =
        caf::make_mailbox_element(std::move(from), id, std::move(stages), std::move(message));
    auto receipt = std::make_shared<Receipt>(connected.inflow(), data.buf.size());
    element = with_receipt(std::move(element), std::move(receipt));
    // What is long takes its time with whoever gets it.
    if (data.buf.size() > brief_bytes_max) {
      to->enqueue(std::move(element), context());
    } else {
      BriefTurns turns(system(), BriefTurns::Thread::of_node);
      to->enqueue(std::move(element), &turns);
    }
    return true;
  }

  // What actors of one system get from CAF itself. From elsewhere it would end them, or be read as
  // what it is not: the content of streams by its kind alone.
  static bool is_internal(caf::message_id id, const caf::message& message) {
    if (id.is_stream_message()) return true;
    for (size_t i = 0; i < message.size(); ++i) {
      if (message.match_element<caf::exit_msg>(i) || message.match_element<caf::down_msg>(i) ||
          message.match_element<caf::group_down_msg>(i) ||
          message.match_element<caf::timeout_msg>(i) ||
          message.match_element<caf::open_stream_msg>(i)) {
        return true;
      }
    }
    return false;
  }
  // What proxies say of links is for CAF.
  static bool is_link(const caf::message& message) {
    return message.type_token() == caf::make_type_token<caf::atom_value, caf::strong_actor_ptr>();
  }
  static void change_link(const caf::message& message, caf::abstract_actor* to) {
    const auto& proxy = message.get_as<caf::strong_actor_ptr>(1);
    if (!proxy) return;
    auto* known = dynamic_cast<caf::actor_proxy*>(proxy->get());
    if (known == nullptr) return;
    auto change = message.get_as<caf::atom_value>(0);
    if (change == caf::link_atom::value) known->add_link(to);
    if (change == caf::unlink_atom::value) known->remove_link(to);
  }

  caf::execution_unit* unit_ = nullptr;
  bool in_turn_ = false;
  std::vector<std::shared_ptr<Scribe*>> unsent_;  // what they have, at the end of this turn
  // Connections by which nothing has come yet, each with its number.
  std::map<caf::io::connection_handle, uint64_t> strangers_;
  uint64_t connections_ = 0;  // that there have been
};

void Scribe::turn_end_write() {
  auto* broker = dynamic_cast<Broker*>(parent());
  if (broker == nullptr || !broker->write_later(self_)) later(&Scribe::write_now);
}

void Scribe::await_greeting() {
  auto* broker = dynamic_cast<Broker*>(parent());
  if (broker != nullptr) broker->await_greeting(hdl(), shared_->bounds.greeting_limit);
}

TlsConnection plain_connection(native_socket socket) {
  auto remote = caf::io::network::remote_addr_of_fd(socket);
  return {remote ? *remote : "", Descriptor(socket), nullptr};
}

// Connections in the clear.
struct PlainDoor : caf::policy::tcp {
  static std::optional<TlsConnection> take(native_socket accepted, ClusterMiddleman::Shared&) {
    return plain_connection(accepted);
  }
  static uint16_t port(native_socket listening, const ClusterMiddleman::Shared&) {
    auto found = caf::io::network::local_port_of_fd(listening);
    return found ? *found : uint16_t{0};
  }
};

// Those that have come through the handshake.
struct TlsDoor {
  // Counts down the listener's event; whoever is told of that takes the connection.
  static bool try_accept(native_socket& result, native_socket event) {
    uint64_t one = 0;
    if (read(event, &one, sizeof one) != sizeof one) return false;
    result = event;
    return true;
  }
  static std::optional<TlsConnection> take(native_socket, ClusterMiddleman::Shared& shared) {
    // CAF may tell of one more once nobody listens.
    return shared.listener ? shared.listener->take() : std::nullopt;
  }
  static uint16_t port(native_socket, const ClusterMiddleman::Shared& shared) {
    return shared.listener->port();
  }
};

// Hands connections to CAF.
template <class Door>
class Doorman : public caf::io::doorman {
 public:
  // What is told when there is one: `socket`, which the acceptor closes.
  Doorman(Multiplexer& multiplexer, native_socket socket, SharedPtr shared)
      : doorman(caf::io::network::accept_hdl_from_socket(socket)),
        acceptor_(multiplexer, socket),
        shared_(std::move(shared)) {}

  using doorman::new_connection;
  bool new_connection() override {
    auto connection = Door::take(acceptor_.accepted_socket(), *shared_);
    // The broker may have let go of its connections in the same turn of the loop.
    if (!connection || detached()) return false;
    auto guest = shared_->enter(connection->remote);
    if (!guest) {
      shared_->refusals.say("refused a connection from " + connection->remote,
                            std::to_string(shared_->bounds.connections_from_one_max) +
                                " connections from there are up already",
                            tls_clock_ms());
      return true;
    }
    auto scribe = caf::make_counted<Scribe>(acceptor_.backend(), std::move(*connection), shared_,
                                            std::move(guest));
    auto handle = scribe->hdl();
    parent()->add_scribe(std::move(scribe));
    return doorman::new_connection(&acceptor_.backend(), handle);
  }
  void launch() override { acceptor_.start(this); }
  void graceful_shutdown() override {
    acceptor_.graceful_shutdown();
    detach(&acceptor_.backend(), false);
  }
  void add_to_loop() override { acceptor_.activate(this); }
  void remove_from_loop() override { acceptor_.passivate(); }
  std::string addr() const override { return ""; }
  uint16_t port() const override { return Door::port(acceptor_.fd(), *shared_); }

 private:
  caf::io::network::acceptor_impl<Door> acceptor_;
  SharedPtr shared_;
};

// CAF's middleman, with other connections.
class MiddlemanActor : public caf::io::middleman_actor_impl {
 public:
  MiddlemanActor(caf::actor_config& config, caf::actor broker, SharedPtr shared)
      : middleman_actor_impl(config, std::move(broker)), shared_(std::move(shared)) {}

  const char* name() const override { return "cluster_middleman"; }

 protected:
  caf::expected<caf::io::scribe_ptr> connect(const std::string& host, uint16_t port) override {
    if (!shared_->tls) return connect_plain(host, port);
    auto connection = tls_dial(*shared_->tls, host, port, dial_limit);
    if (connection.ok()) {
      return caf::make_counted<Scribe>(multiplexer(), std::move(*connection), shared_);
    }
    // That it cannot be reached is said by whoever wanted to.
    if (connection.status().code() == Code::failed_precondition) {
      shared_->refusals.say("no connection to " + host + ":" + std::to_string(port),
                            connection.status().message(), tls_clock_ms());
    }
    return to_error(connection.status());
  }

  caf::expected<caf::io::doorman_ptr> open(uint16_t port, const char* host, bool reuse) override {
    if (!shared_->tls) return open_plain(port, host, reuse);
    // Listening has begun in publish().
    int event = fcntl(shared_->listener->ready_fd(), F_DUPFD_CLOEXEC, 0);
    if (event < 0) return caf::make_error(caf::sec::cannot_open_port);
    return caf::make_counted<Doorman<TlsDoor>>(multiplexer(), event, shared_);
  }

 private:
  caf::expected<caf::io::scribe_ptr> connect_plain(const std::string& host, uint16_t port) {
    auto connection = plain_dial(host, port, dial_limit);
    if (!connection.ok()) return to_error(connection.status());
    return caf::make_counted<Scribe>(multiplexer(), std::move(*connection), shared_);
  }
  caf::expected<caf::io::doorman_ptr> open_plain(uint16_t port, const char* host, bool reuse) {
    auto socket = caf::io::network::new_tcp_acceptor_impl(port, host, reuse);
    if (!socket) return std::move(socket.error());
    return caf::make_counted<Doorman<PlainDoor>>(multiplexer(), *socket, shared_);
  }

  Multiplexer& multiplexer() { return dynamic_cast<Multiplexer&>(system().middleman().backend()); }

  SharedPtr shared_;
};

}  // namespace

// The middlemen that dial, each once. For any thread.
struct ClusterMiddleman::Dials {
  void add(const caf::io::middleman_actor& dial) {
    std::lock_guard lock(mutex);
    under_way.insert(dial);
  }
  void remove(const caf::io::middleman_actor& dial) {
    std::lock_guard lock(mutex);
    under_way.erase(dial);
  }

  std::mutex mutex;
  std::set<caf::io::middleman_actor> under_way;
};

namespace {

// Answers dials as CAF's middleman does, but many at a time, each in a thread of its own: CAF's
// waits for one before it begins the next, and some machines that are off would keep it busy for
// good.
caf::behavior dialler(caf::event_based_actor* self, const caf::actor& broker,
                      const SharedPtr& shared,
                      const std::shared_ptr<ClusterMiddleman::Dials>& dials) {
  return {[=](caf::connect_atom, std::string& host, uint16_t port) {
    auto promise = self->make_response_promise();
    auto dial = self->spawn<MiddlemanActor, caf::detached + caf::hidden>(broker, shared);
    dials->add(dial);
    auto over = [self, dials, dial] {
      self->send_exit(dial, caf::exit_reason::user_shutdown);
      dials->remove(dial);
    };
    self->request(dial, caf::infinite, caf::connect_atom::value, std::move(host), port)
        .then(
            [promise, over](const caf::node_id& node, caf::strong_actor_ptr& remote,
                            std::set<std::string>& interface) mutable {
              promise.deliver(node, std::move(remote), std::move(interface));
              over();
            },
            [promise, over](const caf::error& error) mutable {
              promise.deliver(error);
              over();
            });
    return promise;
  }};
}

}  // namespace

ClusterMiddleman::ClusterMiddleman(caf::actor_system& system, std::shared_ptr<const ClusterTls> tls,
                                   LogSink log, const Bounds& bounds)
    : system_(system),
      shared_(std::make_shared<Shared>(std::move(tls), std::move(log), bounds)),
      listening_{*shared_},
      loop_(system),
      dials_(std::make_shared<Dials>()) {
  caf::io::middleman& plain = system.middleman();
  plain.run_later(block_sigpipe);
  broker_ = plain.named_broker<Broker>(caf::atom("Jade"));
  dynamic_cast<Broker&>(*caf::actor_cast<caf::abstract_actor*>(broker_)).run_by(loop_.unit());
  actor_ = system.spawn<MiddlemanActor, caf::detached + caf::hidden>(broker_, shared_);
  dialler_ = system.spawn<caf::hidden>(dialler, broker_, shared_, dials_);
}

ClusterMiddleman::~ClusterMiddleman() {
  caf::scoped_actor self(system_, true);
  self->send_exit(dialler_, caf::exit_reason::kill);
  self->wait_for(dialler_);
  for (const auto& dial : std::exchange(dials_->under_way, {})) {
    self->send_exit(dial, caf::exit_reason::kill);
    self->wait_for(dial);
  }
  self->send_exit(actor_, caf::exit_reason::kill);
  self->wait_for(actor_);
  // Nothing may be left for the loop to run.
  self->send_exit(broker_, caf::exit_reason::kill);
  self->wait_for(broker_);
}

ClusterMiddleman::Listening::~Listening() { shared.listener.reset(); }

caf::actor ClusterMiddleman::connector() const { return dialler_; }

Result<uint16_t> ClusterMiddleman::publish(const caf::actor& actor, const std::string& host,
                                           uint16_t port) {
  if (shared_->tls) {
    auto listener = TlsListener::listen(shared_->tls, host, port, shared_->refusals);
    if (!listener.ok()) return listener.status();
    shared_->listener = std::move(*listener);
    port = shared_->listener->port();
  }
  Result<uint16_t> published = port;
  caf::scoped_actor self(system_, true);
  self->request(actor_, caf::infinite, caf::publish_atom::value, port,
                caf::actor_cast<caf::strong_actor_ptr>(actor), system_.message_types(actor), host,
                true)
      .receive([&](uint16_t listened) { published = listened; },
               [&](const caf::error& error) {
                 bool taken = error == caf::sec::cannot_open_port;
                 published =
                     unavailable(taken ? "the port cannot be opened" : system_.render(error));
               });
  return published;
}

}  // namespace jade
