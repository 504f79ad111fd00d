// Runs flows over a network with ns-3.37 and writes when each of them was complete.
//
// Copyright (C) 2026 the midhaul authors
// SPDX-License-Identifier: GPL-2.0-only
//
// This file is linked with ns-3, so the program built from it is under the GNU General
// Public License, version 2 (see LICENSE beside it). It is no part of the Python package:
// the two exchange text through a pipe. README.md says how the input is made up.

#include "ns3/core-module.h"
#include "ns3/internet-module.h"
#include "ns3/network-module.h"
#include "ns3/point-to-point-module.h"
#include "ns3/traffic-control-module.h"

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>
#include <unordered_map>
#include <vector>

using namespace ns3;

namespace
{

const uint32_t ADDRESSES = 0x0a000100; // 10.0.1.0; two for each path

uint64_t
Mixed(uint64_t x)
{ // splitmix64, as the Python side draws losses and jitter
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/** What a directed link is made up of. */
struct LinkSpec
{
    uint32_t source, target;
    uint64_t rate;
    int64_t delay;
    std::string discipline;
    int64_t maxPackets, maxBytes;
    double markFrom, markAllFrom, markShare;
    int hasEcn;
    int64_t codelTarget, codelInterval;
    uint64_t lossBelow; // of 63 random bits
    int64_t jitter;
    int64_t reverse;
    std::vector<std::pair<int64_t, uint64_t>> changes;
    // while it runs
    Ptr<PointToPointNetDevice> device;
    Ptr<QueueDisc> queue;
    uint64_t packets = 0, bytes = 0, lost = 0;
    int64_t last = 0;
};

struct TransportSpec
{
    std::string congestion;
    uint32_t segment, window, acksEvery;
    int64_t minRto, connect, ackDelay;
    int paced, hystart;
    int64_t linger;
};

struct FlowSpec
{
    uint32_t path, transport, size;
    int64_t start;
    std::vector<uint32_t> dependents;
    uint32_t waitsFor = 0;
    uint16_t port = 0;
    // while it runs
    int64_t began = -1, fct = -1;
    uint64_t received = 0;
    bool over = false;
    Ptr<Socket> listener;
};

std::vector<LinkSpec> g_links;
std::vector<TransportSpec> g_transports;
std::vector<std::vector<uint32_t>> g_paths;
std::vector<FlowSpec> g_flows;
NodeContainer g_nodes;
uint64_t g_seed = 0;
size_t g_left = 0;
int64_t g_traced = -1;

Ipv4Address
AddressOf(uint32_t path, bool isSource)
{
    return Ipv4Address(ADDRESSES + 2 * path + (isSource ? 1 : 0));
}

/** A wire whose directions have delays of their own, and which may lose packets. */
class Wire : public PointToPointChannel
{
  public:
    uint32_t link[2];

    bool TransmitStart(Ptr<const Packet> p, Ptr<PointToPointNetDevice> src, Time txTime) override
    {
        uint32_t one = g_links[link[0]].device == src ? 0 : 1;
        LinkSpec& way = g_links[link[one]];
        Ptr<PointToPointNetDevice> to = g_links[link[1 - one]].device;
        uint64_t key = g_seed + (uint64_t(link[one]) << 40) + way.packets;
        way.packets++;
        way.bytes += p->GetSize();
        if (way.lossBelow && (Mixed(key) >> 1) < way.lossBelow)
        {
            way.lost++;
            return true;
        }
        int64_t at = Simulator::Now().GetNanoSeconds() + txTime.GetNanoSeconds() + way.delay;
        if (way.jitter)
        {
            at += int64_t((Mixed(~key) >> 32) * uint64_t(way.jitter + 1) >> 32);
            at = std::max(at, way.last);
            way.last = at;
        }
        Simulator::ScheduleWithContext(to->GetNode()->GetId(),
                                       NanoSeconds(at) - Simulator::Now(),
                                       &PointToPointNetDevice::Receive,
                                       to,
                                       p->Copy());
        return true;
    }
};

/** Sends what goes to an address of a path along that path. */
class PathRouting : public Ipv4RoutingProtocol
{
  public:
    std::unordered_map<uint32_t, uint32_t> ways; // address to interface; 0: it is here

    Ptr<Ipv4Route> RouteTo(Ipv4Address to, uint32_t interface)
    {
        Ptr<Ipv4Route> route = Create<Ipv4Route>();
        route->SetDestination(to);
        route->SetSource(Ipv4Address(to.Get() ^ 1));
        route->SetGateway(Ipv4Address::GetAny());
        route->SetOutputDevice(m_ipv4->GetNetDevice(interface));
        return route;
    }

    Ptr<Ipv4Route> RouteOutput(Ptr<Packet>,
                               const Ipv4Header& header,
                               Ptr<NetDevice>,
                               Socket::SocketErrno& error) override
    {
        auto way = ways.find(header.GetDestination().Get());
        if (way == ways.end() || way->second == 0)
        {
            error = Socket::ERROR_NOROUTETOHOST;
            return nullptr;
        }
        error = Socket::ERROR_NOTERROR;
        return RouteTo(header.GetDestination(), way->second);
    }

    bool RouteInput(Ptr<const Packet> p,
                    const Ipv4Header& header,
                    Ptr<const NetDevice> device,
                    UnicastForwardCallback forward,
                    MulticastForwardCallback,
                    LocalDeliverCallback deliver,
                    ErrorCallback) override
    {
        auto way = ways.find(header.GetDestination().Get());
        if (way == ways.end())
        {
            return false;
        }
        if (way->second == 0)
        {
            deliver(p, header, m_ipv4->GetInterfaceForDevice(device));
        }
        else
        {
            forward(RouteTo(header.GetDestination(), way->second), p, header);
        }
        return true;
    }

    void NotifyInterfaceUp(uint32_t) override {}

    void NotifyInterfaceDown(uint32_t) override {}

    void NotifyAddAddress(uint32_t, Ipv4InterfaceAddress) override {}

    void NotifyRemoveAddress(uint32_t, Ipv4InterfaceAddress) override {}

    void SetIpv4(Ptr<Ipv4> ipv4) override { m_ipv4 = ipv4; }

    void PrintRoutingTable(Ptr<OutputStreamWrapper>, Time::Unit) const override {}

  private:
    Ptr<Ipv4> m_ipv4;
};

// ---- flows -----------------------------------------------------------------------

void StartFlow(uint32_t index);

void
FlowIsOver(uint32_t index)
{
    FlowSpec& flow = g_flows[index];
    if (flow.over)
    {
        return;
    }
    flow.over = true;
    size_t all = g_flows.size();
    if (--g_left % (all / 100 + 1) == 0)
    {
        std::fprintf(stderr, "over %zu\n", all - g_left);
    }
    if (g_left == 0)
    {
        Simulator::Stop();
    }
}

void
OnReceived(uint32_t index, Ptr<Socket> socket)
{
    FlowSpec& flow = g_flows[index];
    while (Ptr<Packet> p = socket->Recv())
    {
        if (p->GetSize() == 0)
        {
            break;
        }
        flow.received += p->GetSize();
    }
    if (flow.received < flow.size || flow.fct >= 0)
    {
        return;
    }
    flow.fct = Simulator::Now().GetNanoSeconds() - flow.began;
    for (uint32_t other : flow.dependents)
    {
        if (--g_flows[other].waitsFor == 0)
        {
            Simulator::Schedule(NanoSeconds(g_flows[other].start), &StartFlow, other);
        }
    }
    socket->Close();
    FlowIsOver(index);
}

void
OnTrace(std::string what, Ptr<const Packet> p, const TcpHeader& header, Ptr<const TcpSocketBase>)
{
    std::fprintf(stderr,
                 "%ld %s seq %u ack %u len %u flags %d\n",
                 long(Simulator::Now().GetNanoSeconds()),
                 what.c_str(),
                 header.GetSequenceNumber().GetValue(),
                 header.GetAckNumber().GetValue(),
                 p->GetSize(),
                 int(header.GetFlags()));
}

void
OnWindow(std::string what, uint32_t, uint32_t now)
{
    std::fprintf(stderr, "%ld %s %u\n", long(Simulator::Now().GetNanoSeconds()), what.c_str(), now);
}

void
Trace(Ptr<Socket> socket, const std::string& end)
{
    socket->TraceConnectWithoutContext("Tx", MakeBoundCallback(&OnTrace, end + " tx"));
    socket->TraceConnectWithoutContext("Rx", MakeBoundCallback(&OnTrace, end + " rx"));
    socket->TraceConnectWithoutContext("CongestionWindow",
                                       MakeBoundCallback(&OnWindow, end + " cwnd"));
    socket->TraceConnectWithoutContext("SlowStartThreshold",
                                       MakeBoundCallback(&OnWindow, end + " ssthresh"));
}

void
OnAccepted(uint32_t index, Ptr<Socket> socket, const Address&)
{
    socket->SetRecvCallback(MakeBoundCallback(&OnReceived, index));
    FlowSpec& flow = g_flows[index];
    if (g_traced == int64_t(index))
    {
        Trace(socket, "receiver");
    }
    if (flow.listener)
    {
        flow.listener->Close();
        flow.listener = nullptr;
    }
}

void
OnConnected(uint32_t index, Ptr<Socket> socket)
{
    socket->Send(Create<Packet>(g_flows[index].size));
    socket->Close();
}

void
OnFailed(uint32_t index, Ptr<Socket>)
{
    FlowIsOver(index);
}

Ptr<Socket>
NewSocket(uint32_t node, const TransportSpec& spec)
{
    static const std::unordered_map<std::string, std::string> types = {
        {"newreno", "ns3::TcpNewReno"},
        {"linux-reno", "ns3::TcpLinuxReno"},
        {"cubic", "ns3::TcpCubic"},
        {"dctcp", "ns3::TcpDctcp"},
        {"bbr", "ns3::TcpBbr"},
    };
    if (g_transports.size() > 1)
    {
        Config::SetDefault("ns3::TcpCubic::HyStart", BooleanValue(spec.hystart));
        Config::SetDefault("ns3::TcpSocketState::EnablePacing", BooleanValue(spec.paced));
    }
    Ptr<TcpL4Protocol> tcp = g_nodes.Get(node)->GetObject<TcpL4Protocol>();
    Ptr<Socket> socket = tcp->CreateSocket(TypeId::LookupByName(types.at(spec.congestion)),
                                           TcpPrrRecovery::GetTypeId());
    socket->SetAttribute("SegmentSize", UintegerValue(spec.segment));
    socket->SetAttribute("InitialCwnd", UintegerValue(spec.window));
    socket->SetAttribute("ConnTimeout", TimeValue(NanoSeconds(spec.connect)));
    socket->SetAttribute("MinRto", TimeValue(NanoSeconds(spec.minRto)));
    socket->SetAttribute("DelAckCount", UintegerValue(spec.acksEvery));
    socket->SetAttribute("DelAckTimeout", TimeValue(NanoSeconds(spec.ackDelay)));
    socket->SetAttribute("MaxSegLifetime", DoubleValue(spec.linger * 1e-9 / 2));
    return socket;
}

void
StartFlow(uint32_t index)
{
    FlowSpec& flow = g_flows[index];
    const std::vector<uint32_t>& path = g_paths[flow.path];
    const TransportSpec& spec = g_transports[flow.transport];
    flow.began = Simulator::Now().GetNanoSeconds();
    InetSocketAddress near(AddressOf(flow.path, true), flow.port);
    InetSocketAddress far(AddressOf(flow.path, false), flow.port);
    flow.listener = NewSocket(g_links[path.back()].target, spec);
    flow.listener->Bind(far);
    flow.listener->Listen();
    flow.listener->SetAcceptCallback(MakeNullCallback<bool, Ptr<Socket>, const Address&>(),
                                     MakeBoundCallback(&OnAccepted, index));
    Ptr<Socket> sender = NewSocket(g_links[path.front()].source, spec);
    sender->Bind(near);
    sender->SetConnectCallback(MakeBoundCallback(&OnConnected, index),
                               MakeBoundCallback(&OnFailed, index));
    sender->SetCloseCallbacks(MakeNullCallback<void, Ptr<Socket>>(),
                              MakeBoundCallback(&OnFailed, index));
    if (g_traced == int64_t(index))
    {
        Trace(sender, "sender");
    }
    sender->Connect(far);
}

// ---- input -----------------------------------------------------------------------

template <typename T>
T
Next(std::istream& in)
{
    T value;
    if (!(in >> value))
    {
        std::fprintf(stderr, "the input ends too early or has a word where a number should be\n");
        std::exit(2);
    }
    return value;
}

void
ReadLinks(std::istream& in)
{
    g_links.resize(Next<size_t>(in));
    for (LinkSpec& link : g_links)
    {
        in >> link.source >> link.target >> link.rate >> link.delay >> link.discipline >>
            link.maxPackets >> link.maxBytes >> link.markFrom >> link.markAllFrom >>
            link.markShare >> link.hasEcn >> link.codelTarget >> link.codelInterval >>
            link.lossBelow >> link.jitter >> link.reverse;
        link.changes.resize(Next<size_t>(in));
        for (auto& change : link.changes)
        {
            in >> change.first >> change.second;
        }
    }
}

void
ReadFlows(std::istream& in)
{
    g_transports.resize(Next<size_t>(in));
    for (TransportSpec& one : g_transports)
    {
        in >> one.congestion >> one.segment >> one.window >> one.acksEvery >> one.minRto >>
            one.connect >> one.ackDelay >> one.paced >> one.hystart >> one.linger;
    }
    g_paths.resize(Next<size_t>(in));
    for (auto& path : g_paths)
    {
        path.resize(Next<size_t>(in));
        for (uint32_t& link : path)
        {
            in >> link;
        }
    }
    std::vector<uint32_t> used(g_paths.size(), 0);
    g_flows.resize(Next<size_t>(in));
    for (uint32_t i = 0; i < g_flows.size(); i++)
    {
        FlowSpec& flow = g_flows[i];
        in >> flow.path >> flow.size >> flow.start >> flow.transport >> flow.waitsFor;
        flow.port = uint16_t(1024 + used[flow.path]++ % 60000);
        for (uint32_t k = 0; k < flow.waitsFor; k++)
        {
            g_flows[Next<uint32_t>(in)].dependents.push_back(i);
        }
    }
}

// ---- network ---------------------------------------------------------------------

std::string
LimitOf(const LinkSpec& link)
{
    if (link.maxBytes >= 0)
    {
        return std::to_string(link.maxBytes) + "B";
    }
    return std::to_string(link.maxPackets >= 0 ? link.maxPackets : 2000000000) + "p";
}

Ptr<QueueDisc>
NewQueue(const LinkSpec& link, uint32_t index, uint32_t mtu)
{
    QueueSizeValue limit{QueueSize(LimitOf(link))};
    TrafficControlHelper helper;
    if (link.discipline == "red")
    {
        helper.SetRootQueueDisc("ns3::RedQueueDisc",
                                "MaxSize", limit,
                                "MinTh", DoubleValue(link.markFrom),
                                "MaxTh", DoubleValue(link.markAllFrom),
                                "LInterm", DoubleValue(1 / link.markShare),
                                "QW", DoubleValue(1),
                                "Gentle", BooleanValue(false),
                                "UseEcn", BooleanValue(link.hasEcn),
                                "UseHardDrop", BooleanValue(false),
                                "LinkBandwidth", DataRateValue(DataRate(link.rate)),
                                "LinkDelay", TimeValue(NanoSeconds(link.delay)));
    }
    else if (link.discipline == "codel")
    {
        helper.SetRootQueueDisc("ns3::CoDelQueueDisc",
                                "MaxSize", limit,
                                "UseEcn", BooleanValue(link.hasEcn),
                                "Target", TimeValue(NanoSeconds(link.codelTarget)),
                                "Interval", TimeValue(NanoSeconds(link.codelInterval)));
    }
    else if (link.discipline == "fq_codel")
    {
        helper.SetRootQueueDisc("ns3::FqCoDelQueueDisc",
                                "MaxSize", limit,
                                "UseEcn", BooleanValue(link.hasEcn),
                                "Target", StringValue(std::to_string(link.codelTarget) + "ns"),
                                "Interval", StringValue(std::to_string(link.codelInterval) + "ns"));
    }
    else
    {
        helper.SetRootQueueDisc("ns3::FifoQueueDisc", "MaxSize", limit);
    }
    Ptr<QueueDisc> queue = helper.Install(NetDeviceContainer(link.device)).Get(0);
    if (Ptr<RedQueueDisc> red = DynamicCast<RedQueueDisc>(queue))
    {
        red->AssignStreams(index);
    }
    if (Ptr<FqCoDelQueueDisc> fair = DynamicCast<FqCoDelQueueDisc>(queue))
    {
        fair->SetQuantum(mtu);
    }
    return queue;
}

void
BuildDevices(uint32_t mtu)
{
    for (LinkSpec& link : g_links)
    {
        link.device = CreateObject<PointToPointNetDevice>();
        link.device->SetAddress(Mac48Address::Allocate());
        link.device->SetMtu(mtu);
        link.device->SetDataRate(DataRate(link.rate));
        g_nodes.Get(link.source)->AddDevice(link.device);
        Ptr<DropTailQueue<Packet>> queue = CreateObject<DropTailQueue<Packet>>();
        queue->SetMaxSize(QueueSize("1p"));
        link.device->SetQueue(queue);
        Ptr<NetDeviceQueueInterface> flowControl = CreateObject<NetDeviceQueueInterface>();
        flowControl->GetTxQueue(0)->ConnectQueueTraces(queue);
        link.device->AggregateObject(flowControl);
        Ptr<Ipv4> ipv4 = g_nodes.Get(link.source)->GetObject<Ipv4>();
        uint32_t interface = ipv4->AddInterface(link.device);
        ipv4->SetUp(interface);
    }
    for (uint32_t i = 0; i < g_links.size(); i++)
    {
        LinkSpec& link = g_links[i];
        if (link.reverse > int64_t(i))
        {
            Ptr<Wire> wire = CreateObject<Wire>();
            wire->link[0] = i;
            wire->link[1] = uint32_t(link.reverse);
            link.device->Attach(wire);
            g_links[link.reverse].device->Attach(wire);
        }
        link.queue = NewQueue(link, i, mtu);
        for (const auto& change : link.changes)
        {
            Simulator::Schedule(NanoSeconds(change.first),
                                &PointToPointNetDevice::SetDataRate,
                                link.device,
                                DataRate(change.second));
        }
    }
}

void
BuildRoutes()
{
    std::vector<Ptr<PathRouting>> routing;
    for (uint32_t i = 0; i < g_nodes.GetN(); i++)
    {
        routing.push_back(CreateObject<PathRouting>());
        g_nodes.Get(i)->GetObject<Ipv4>()->SetRoutingProtocol(routing.back());
    }
    for (uint32_t i = 0; i < g_paths.size(); i++)
    {
        uint32_t there = AddressOf(i, false).Get();
        uint32_t back = AddressOf(i, true).Get();
        routing[g_links[g_paths[i].front()].source]->ways[back] = 0;
        routing[g_links[g_paths[i].back()].target]->ways[there] = 0;
        for (uint32_t link : g_paths[i])
        {
            for (uint32_t way : {link, uint32_t(g_links[link].reverse)})
            {
                Ptr<Ipv4> ipv4 = g_nodes.Get(g_links[way].source)->GetObject<Ipv4>();
                routing[g_links[way].source]->ways[way == link ? there : back] =
                    uint32_t(ipv4->GetInterfaceForDevice(g_links[way].device));
            }
        }
    }
}

} // namespace

int
main(int argc, char** argv)
{
    std::ifstream in(argc > 1 ? argv[1] : "");
    if (!in || Next<std::string>(in) != "midhaul-ns3" || Next<int>(in) != 1)
    {
        std::fprintf(stderr, "usage: program INPUT > OUTPUT\n");
        return 2;
    }
    int64_t until = Next<int64_t>(in);
    g_seed = Next<uint64_t>(in);
    g_traced = Next<int64_t>(in);
    uint32_t mtu = Next<uint32_t>(in);
    g_nodes.Create(Next<uint32_t>(in));
    ReadLinks(in);
    ReadFlows(in);
    uint32_t largest = 1u << 28;
    for (const FlowSpec& flow : g_flows)
    {
        largest = std::max(largest, flow.size);
    }
    Config::SetDefault("ns3::TcpSocket::SndBufSize", UintegerValue(largest));
    Config::SetDefault("ns3::TcpSocket::RcvBufSize", UintegerValue(largest));
    Config::SetDefault("ns3::TcpSocketState::MaxPacingRate", DataRateValue(DataRate(1000000000000000ULL)));
    if (g_transports.size() == 1)
    {
        Config::SetDefault("ns3::TcpCubic::HyStart", BooleanValue(g_transports[0].hystart));
        Config::SetDefault("ns3::TcpSocketState::EnablePacing",
                           BooleanValue(g_transports[0].paced));
    }
    InternetStackHelper stack;
    stack.SetIpv6StackInstall(false);
    stack.Install(g_nodes);
    BuildDevices(mtu);
    BuildRoutes();
    g_left = g_flows.size();
    for (uint32_t i = 0; i < g_flows.size(); i++)
    {
        if (g_flows[i].waitsFor == 0)
        {
            Simulator::Schedule(NanoSeconds(g_flows[i].start), &StartFlow, i);
        }
    }
    if (until >= 0)
    {
        Simulator::Stop(NanoSeconds(until));
    }
    Simulator::Run();
    std::printf("midhaul-ns3 1 %lu %ld\n",
                (unsigned long)Simulator::GetEventCount(),
                long(Simulator::Now().GetNanoSeconds()));
    for (const FlowSpec& flow : g_flows)
    {
        std::printf("%ld %ld\n", long(flow.began), long(flow.fct));
    }
    for (const LinkSpec& link : g_links)
    {
        const QueueDisc::Stats& stats = link.queue->GetStats();
        std::printf("%lu %lu %lu\n",
                    (unsigned long)link.bytes,
                    (unsigned long)(stats.nTotalDroppedPackets + link.lost),
                    (unsigned long)stats.nTotalMarkedPackets);
    }
    std::printf("end\n");
    return 0;
}
