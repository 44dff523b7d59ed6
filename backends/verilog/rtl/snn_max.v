// Max pooling of spike counts. N_j counts the spikes of input j; output p has M_p = max N_j over its window
// and has sent E_p spikes: it sends one more at the end of a step (RATE) or in each of STEPS scans
// (integrate, then fire) while E_p < M_p. An update takes two cycles: read N and M, then write both.
module snn_max #(
    parameter LANES = 8, parameter STEPS = 1, parameter RATE = 1,
    parameter CHANNELS = 1, parameter ROWS = 1, parameter COLUMNS = 1,
    parameter INPUTS = 1,       // words of N
    parameter GROUPS = (CHANNELS + LANES - 1) / LANES,
    parameter WORDS = GROUPS * ROWS * COLUMNS,
    parameter PHASES = 0,       // K of a phase code, else 0
    parameter TARGET = 1,       // bits of a neuron's address {word, lane}
    parameter SOURCE = 1,       // bits of an input's address {word, lane}
    parameter CHANNEL = (CHANNELS > 1) ? $clog2(CHANNELS) : 1,
    parameter ROW = (ROWS > 1) ? $clog2(ROWS) : 1,
    parameter COLUMN = (COLUMNS > 1) ? $clog2(COLUMNS) : 1,
    parameter STEP = (STEPS > 1) ? $clog2(STEPS) : 1,
    parameter EXTRA = (PHASES > 1) ? STEP + 1 : 1
) (
    input wire clk,
    input wire reset,
    input wire in_valid,
    output wire in_ready,
    input wire [EXTRA+SOURCE:0] in_data, // {extra, first, source}: is it the first target of its event?
    input wire [TARGET-1:0] in_target,
    input wire complete,
    output wire end_of_step,
    output wire end_of_sample,
    output wire out_valid,
    input wire out_ready,
    output wire [EXTRA+CHANNEL+ROW+COLUMN:0] out_data,
    output wire busy
);
    localparam GROUP = (GROUPS > 1) ? $clog2(GROUPS) : 1;
    localparam LANE = (LANES > 1) ? $clog2(LANES) : 1;
    localparam WORD = (WORDS > 1) ? $clog2(WORDS) : 1;
    localparam INPUT = (INPUTS > 1) ? $clog2(INPUTS) : 1;
    localparam CLEARS = (INPUTS > WORDS) ? INPUTS : WORDS;
    localparam SWEEP = (CLEARS > 1) ? $clog2(CLEARS) : 1;
    localparam [SWEEP-1:0] LAST = CLEARS - 1;
    localparam COUNT = (PHASES > 1) ? PHASES : $clog2(STEPS + 1);
    localparam [COUNT-1:0] LARGEST = 1 << (COUNT - 1);
    localparam PLACE = GROUP + ROW + COLUMN;
    localparam [1:0] CLEAR = 0, GATHER = 1, SCAN = 2, TOKEN = 3;

    localparam LAST_STEP = STEPS - 1;

    reg [1:0] state;
    reg entering;
    reg [STEP-1:0] step;
    wire last_step = step == LAST_STEP[STEP-1:0];

    wire move, scanning;
    wire [WORD-1:0] word;
    wire [GROUP-1:0] group;
    wire [ROW-1:0] row;
    wire [COLUMN-1:0] column;
    snn_scan #(
        .GROUPS(GROUPS), .ROWS(ROWS), .COLUMNS(COLUMNS),
        .GROUP(GROUP), .ROW(ROW), .COLUMN(COLUMN), .WORD(WORD)
    ) scan (
        .clk(clk), .reset(reset), .start(entering && state == SCAN), .advance(move),
        .active(scanning), .word(word), .group(group), .row(row), .column(column)
    );
    wire fetch = scanning && move;
    reg x_valid;
    reg [WORD-1:0] x_word;
    reg [PLACE-1:0] x_place;
    wire spikes_left;
    wire scanned = !entering && !scanning && !x_valid && !spikes_left;

    // an update: N_j of the event's input grows by one, then M_p of every window around it follows
    reg updating, first;
    reg [SOURCE-1:0] source;
    reg [TARGET-1:0] target;
    reg [SWEEP-1:0] sweep;      // clears both memories
    wire clearing = state == CLEAR;
    wire accept = in_valid && in_ready;
    wire [LANES*COUNT-1:0] counts;
    wire [2*LANES*COUNT-1:0] pairs;
    reg [LANES*COUNT-1:0] counts_next;
    reg [2*LANES*COUNT-1:0] pairs_next;

    // verilator lint_off WIDTH
    // an address is cut to the word and the lane that it is made of
    localparam SHIFT = $clog2(LANES);
    wire [LANE-1:0] source_lane = LANES > 1 ? source : 0;
    wire [LANE-1:0] target_lane = LANES > 1 ? target : 0;
    wire [INPUT-1:0] n_read = in_data[SOURCE-1:0] >> SHIFT;
    wire [INPUT-1:0] n_write = clearing ? sweep : source >> SHIFT;
    wire [WORD-1:0] m_read = accept ? in_target >> SHIFT : word;
    wire [WORD-1:0] m_write = clearing ? sweep : updating ? target >> SHIFT : x_word;
    wire clear_n = sweep < INPUTS;
    wire clear_m = sweep < WORDS;
    // verilator lint_on WIDTH

    snn_ram #(.WIDTH(LANES * COUNT), .DEPTH(INPUTS)) n (
        .clk(clk), .read(accept), .read_address(n_read), .read_data(counts),
        .write(clearing ? clear_n : updating && first), .write_address(n_write), .write_data(counts_next)
    );
    snn_ram #(.WIDTH(2 * LANES * COUNT), .DEPTH(WORDS)) m (
        .clk(clk), .read(accept || fetch), .read_address(m_read), .read_data(pairs),
        .write(clearing ? clear_m : updating || x_valid && move), .write_address(m_write), .write_data(pairs_next)
    );

    // what a spike counts: the one that came, and the one that a scan sends
    // verilator lint_off UNUSEDSIGNAL
    // spikes of a max gate have no sign
    reg [EXTRA-1:0] extra;
    // verilator lint_on UNUSEDSIGNAL
    wire [COUNT-1:0] brought = !first ? 0 : (PHASES > 1) ? LARGEST >> (extra >> 1) : 1;
    wire [COUNT-1:0] due = (PHASES > 1) ? LARGEST >> step : 1;
    wire [COUNT-1:0] grown = counts[source_lane*COUNT +: COUNT] + brought;
    reg [LANES-1:0] spikes;
    reg [COUNT-1:0] most, sent;
    integer i;
    always @* begin
        counts_next = counts;
        counts_next[source_lane*COUNT +: COUNT] = grown;
        if (clearing) counts_next = 0;
        for (i = 0; i < LANES; i = i + 1) begin
            {most, sent} = pairs[2*i*COUNT +: 2*COUNT];
            spikes[i] = most - sent >= due;
            if (updating && i[LANE-1:0] == target_lane && grown > most) most = grown;
            if (!updating && spikes[i]) sent = sent + due;
            if (clearing) {most, sent} = 0;
            pairs_next[2*i*COUNT +: 2*COUNT] = {most, sent};
        end
    end

    wire token = state == TOKEN;
    snn_serialiser #(
        .LANES(LANES), .PHASES(PHASES), .GROUP(GROUP), .CHANNEL(CHANNEL), .ROW(ROW), .COLUMN(COLUMN),
        .STEP(STEP), .EXTRA(EXTRA)
    ) serialiser (
        .clk(clk), .reset(reset),
        .in_ready(move), .in_valid(x_valid), .in_spikes(spikes), .in_negative({LANES{1'b0}}),
        .in_place(x_place), .step(step), .token(token), .left(spikes_left),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data)
    );

    assign busy = clearing || (state == GATHER ? in_valid || updating || complete : !out_valid || out_ready);
    assign in_ready = state == GATHER && !updating;
    assign end_of_step = token && out_ready;
    assign end_of_sample = end_of_step && (last_step || !RATE);

    always @(posedge clk) begin
        entering <= 1'b0;
        updating <= accept;
        {extra, first, source} <= in_data;
        target <= in_target;
        if (move) begin
            x_valid <= fetch;
            x_word <= word;
            x_place <= {group, row, column};
        end
        case (state)
            CLEAR: begin
                sweep <= sweep + 1'b1;
                if (sweep == LAST) state <= GATHER;
            end
            GATHER: if (complete && !updating) begin
                state <= SCAN;
                entering <= 1'b1;
            end
            SCAN: if (scanned) begin
                if (RATE || last_step) state <= TOKEN;
                else begin
                    step <= step + 1'b1;
                    entering <= 1'b1;
                end
            end
            TOKEN: if (out_ready) begin
                state <= end_of_sample ? CLEAR : GATHER;
                sweep <= 0;
                step <= end_of_sample ? 0 : step + 1'b1;
            end
        endcase
        if (reset) begin
            state <= CLEAR;
            entering <= 1'b0;
            updating <= 1'b0;
            x_valid <= 1'b0;
            sweep <= 0;
            step <= 0;
        end
    end
endmodule
